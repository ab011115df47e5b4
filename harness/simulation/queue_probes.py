"""Probes in the simulated Redis: which named events the calls of one run reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from agentexec.queue.protocol import (
    Admission,
    Dispatch,
    Disposition,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
)
from harness.simulation.queue.books import Books
from harness.simulation.scheduler import Process

Lease = tuple[UUID, int]


class QueueProbes:
    """Adds the names of what calls reach to `reached`. It changes nothing and draws no random number.

    `starts` are the leases whose starts are recorded, as the probes of the store keep them.
    """

    def __init__(self, reached: set[str], starts: set[tuple[str, int]], clock: Callable[[], float]) -> None:
        """`clock` is that of the server, in seconds."""
        self._reached = reached
        self._starts = starts
        self._clock = clock
        self.has_lost_contents = False
        self.is_silent: Callable[[Process], bool] = lambda _: (
            False
        )  # whether Postgres is silent for a process
        self.lost_tasks = set[UUID]()  # of which the queue lost the keys, but not its epoch
        self._expired: set[Lease] = set()  # leases that a step revoked
        self._refused: set[UUID] = set()  # tasks for which the queue had no room
        self._registrants: dict[str, str] = {}  # by worker, the process that registered it
        self._before: Mapping[str, Callable[..., object]] = {
            "step": self._before_step,
            "renew": self._before_renew,
            "enqueue": self._before_enqueue,
            "request_cancel": self._before_cancel,
            "begin_rebuild": lambda books, _: books.rebuilding,
            "end_rebuild": lambda books, _: books.epoch,
        }
        self._after: Mapping[str, Callable[..., None]] = {
            "step": self._after_step,
            "renew": self._after_renew,
            "enqueue": self._after_enqueue,
            "begin_rebuild": self._after_begin_rebuild,
            "end_rebuild": self._after_end_rebuild,
            "lock": self._after_lock,
            "release": self._after_release,
            "hand_back": self._after_hand_back,
            "register": self._after_register,
        }

    def before(self, call: str, books: Books, arguments: Sequence[Any]) -> object:
        """What a probe needs to know of the queue before a call; it is to be given to `after`."""
        probe = self._before.get(call)
        return probe and probe(books, *arguments)

    def after(
        self,
        call: str,
        books: Books,
        before: object,
        answer: object,
        by: Process | None,
        *arguments: Any,
        **options: Any,
    ) -> None:
        """Look at an answered call of a process."""
        probe = self._after.get(call)
        if probe is not None:
            probe(books, before, answer, by, *arguments, **options)

    def late(self, call: str, answer: object) -> None:
        """Look at the answer to a request that arrived after its sender gave up."""
        self._reached.add(f"late-{call.replace('_', '-')}")
        if isinstance(answer, StepResult) and answer.claims:
            self._reached.add("late-claim")

    def is_expired(self, books: Books, task_id: UUID) -> bool:
        """Whether the deadline of a leased task is over."""
        return books.lease.scores[task_id] < self._now()

    def worker_of(self, process: Process) -> str | None:
        """The worker that runs in a process; None in any other process."""
        registered = reversed(self._registrants.items())
        return next((worker for worker, name in registered if name == process.name), None)

    def _now(self) -> float:
        return self._clock() * 1000

    def _before_step(self, books: Books, request: StepRequest) -> tuple[int | None, int, int | None]:
        """The number of claims that a repeated step had, of parked tasks, and when the next task is due."""
        last = books.last.get(request.worker)
        repeated = len(last.claims) if last is not None and last.nonce == request.nonce else None
        return repeated, _parked(books) if request.finishes else 0, books.sched.first()

    def _after_step(
        self,
        books: Books,
        before: tuple[int | None, int, int | None],
        answer: StepResult,
        _by: Process | None,
        request: StepRequest,
    ) -> None:
        reached, (repeated, parked, due) = self._reached, before
        if repeated is not None:
            reached.add("step-repeated")
            if len(answer.claims) < repeated:
                reached.add("step-repeated-without-a-claim")
            return
        if any(answer.expired):
            reached.add("lease-expires")
            self._expired.update(answer.expired.requeued.items(), answer.expired.dead.items())
            self._note_dead(answer.expired)
        if request.finishes:
            self._note_finishes(books, answer, request, parked)
        if due is not None and (books.sched.first() or self._now()) > due:
            reached.add("delay-ends" if books.epoch is not None else "delay-ends-in-rebuild")
        if answer.claims:
            self._note_claims(books, answer, request)
        elif answer.reserved and books.last[request.worker].reserved == "quiet":
            reached.add("worker-empties-for-suspect")
        if answer.canceled:
            reached.add("cancel-in-step-reply")

    def _note_finishes(self, books: Books, answer: StepResult, request: StepRequest, parked: int) -> None:
        reached = self._reached
        for finish in answer.stale:
            if (finish.task_id, finish.token) in self._expired:
                reached.add("finish-after-expiry")
            elif finish.task_id not in books.job:
                reached.add("finish-after-loss")
        kinds = {finish.disposition for finish in request.finishes if finish not in answer.stale}
        if Disposition.DEAD_LETTER in kinds:
            reached.add("dead-letter-by-worker")
        if kinds and books.epoch is None:
            reached.add("finish-in-rebuild")
        if _parked(books) < parked:
            reached.add("parked-follows-deferred" if Disposition.DEFER in kinds else "parked-follows-ended")

    def _note_claims(self, books: Books, answer: StepResult, request: StepRequest) -> None:
        reached, token = self._reached, answer.claims[0].token
        if books.epoch is None:
            reached.add("claim-in-rebuild")
        if token == request.lowest_token:
            reached.add("token-above-lost-fence")
        elif token > (self._now() + 1) * 1000:
            reached.add("token-above-clock")
        if answer.reserved:
            reached.add("suspect-runs-alone")
        if books.ready[0] and any(books.job[claim.task_id].level for claim in answer.claims):
            reached.add("low-before-high")

    def _note_dead(self, revoked: Revocations) -> None:
        if revoked.dead:
            self._reached.add("dead-letter-by-crashes")

    def _before_renew(self, books: Books, _worker: str, leases: Tokens) -> None:
        if any(books.holds(i, token) and self.is_expired(books, i) for i, token in leases.items()):
            self._reached.add("renewal-after-expiry")

    def _after_renew(
        self,
        _books: Books,
        _before: None,
        answer: tuple[set[UUID], set[UUID]],
        _by: Process | None,
        *_: object,
    ) -> None:
        lost, canceled = answer
        if lost:
            self._reached.add("renewal-after-revocation")
        if canceled:
            self._reached.add("cancel-in-renewal-reply")

    def _before_enqueue(self, books: Books, tasks: Sequence[Dispatch]) -> tuple[set[UUID], int]:
        """The tasks that the queue knows already, and the number of parked ones."""
        return {task.task_id for task in tasks if task.task_id in books.job}, _parked(books)

    def _after_enqueue(
        self,
        books: Books,
        before: tuple[set[UUID], int],
        answers: list[Admission],
        by: Process | None,
        tasks: Sequence[Dispatch],
        *,
        from_reconciler: bool,
    ) -> None:
        reached, (known, parked) = self._reached, before
        for task, answer in zip(tasks, answers, strict=True):
            if answer is Admission.FULL:
                reached.add("full-queue-refuses")
                self._refused.add(task.task_id)
            elif answer is Admission.LATER:
                reached.add("lock-key-waits-for-rebuild")
            elif task.task_id in known:
                reached.add("dispatch-repeated")
            else:
                if task.task_id in self._refused:
                    reached.add("full-queue-takes-later")
                if from_reconciler:
                    reached.add("rebuild-restores")
                elif by is not None and by.name.startswith("pool"):
                    reached.add("pool-dispatches")
                    if task.task_id in self.lost_tasks:
                        reached.add("comparison-restores")
        if _parked(books) > parked:
            reached.add("dispatch-parks")

    def _before_cancel(self, books: Books, task_ids: Sequence[UUID]) -> None:
        for task_id in task_ids:
            holder = books.holder.get(task_id)
            if holder is not None and (task_id.hex, holder.token) not in self._starts:
                self._reached.add("cancel-between-claim-and-start")
            self._reached.add(f"cancel-of-{place(books, task_id)}")

    def _after_begin_rebuild(
        self, _books: Books, before: str | None, answer: str | None, _by: Process | None, proposal: str
    ) -> None:
        if answer == proposal and self.has_lost_contents:
            self._reached.add("rebuild-begins")
        elif answer is not None and before is not None:
            self._reached.add("rebuild-by-two-pools")

    def _after_end_rebuild(
        self, _books: Books, before: str | None, answer: bool, _by: Process | None, _name: str
    ) -> None:
        if not answer:
            self._reached.add("rebuild-in-vain")
        elif before is not None:
            self._reached.add("rebuild-ended-by-another")

    def _after_lock(
        self,
        books: Books,
        _before: None,
        answer: tuple[set[UUID], set[UUID]],
        _by: Process | None,
        _claims: Mapping[UUID, tuple[int, str]],
    ) -> None:
        parked, lost = answer
        if parked:
            self._reached.add(
                "late-lock-key-parks" if books.epoch is not None else "late-lock-key-in-rebuild"
            )
        if lost:
            self._reached.add("late-lock-key-of-lost-lease")

    def _after_release(
        self,
        _books: Books,
        _before: None,
        answer: Revocations,
        by: Process | None,
        worker: str,
        _leases: Tokens | None,
        *,
        charge: bool,
        begun: bool,
        declare_gone: bool,
    ) -> None:
        if not any(answer):
            return
        self._note_dead(answer)
        reached, count = self._reached, sum(map(len, answer))
        own = by is not None and by.name == self._registrants.get(worker)
        if by is not None and self.is_silent(by):
            reached.add("lease-given-up-in-silence")
        if not charge:
            reached.add("drain-releases" if own and not declare_gone else "uncharged-release")
        elif not begun:
            reached.add("crash-before-start")
        else:
            reached.add("crash-charged" if count == 1 else "crash-shared")
        if by is not None and _pool(by.name) != _pool(self._registrants.get(worker, by.name)):
            reached.add("release-by-neighbour")

    def _after_hand_back(
        self,
        _books: Books,
        _before: None,
        answer: tuple[set[UUID], set[UUID]],
        _by: Process | None,
        claims: Mapping[UUID, tuple[int, str, str]],
        **_options: float,
    ) -> None:
        if sum(map(len, answer)) < len(claims):
            self._reached.add("unknown-task-goes-back")

    def _after_register(
        self, _books: Books, _before: None, _answer: None, by: Process | None, worker: str, _identity: str
    ) -> None:
        if by is not None:
            self._registrants.setdefault(worker, by.name)


def _parked(books: Books) -> int:
    return sum(map(len, books.parked.values())) if books.parked else 0


def _pool(process: str) -> str:
    return process.partition("/")[0]


def place(books: Books, task_id: UUID) -> str:
    """Where the queue has a task."""
    if task_id not in books.job:
        return "unknown"
    if task_id in books.holder:
        return "leased"
    if task_id in books.sched.scores:
        return "scheduled"
    if task_id in books.reason:
        return "dead"
    return "parked" if any(task_id in waiting for waiting in books.parked.values()) else "ready"
