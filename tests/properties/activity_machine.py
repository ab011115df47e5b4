"""A state machine over the queue and the activity store, with workers that crash, freeze and report late.

Every rule goes through agentexec: the steps of the queue, the statements of the store as a worker batches them, and the
reconciler. The model predicts the outcome from docs/reference/queue-protocol.md alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Engine, text

from agentexec.config import load_settings
from agentexec.core.identity import host_identity
from agentexec.queue.protocol import (
    Claim,
    Dispatch,
    Disposition,
    Finish,
    QueuePolicy,
    StepRequest,
    StepResult,
)
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.recording import Batch, Recorded, record
from agentexec.worker.retrying import Retrying
from harness.history.activity_model import ActivityModel
from harness.simulation.queue.books import ALONE_AFTER
from tests.properties.model import HeldLease, WorkerView
from tests.support.queue_contents import contents_of
from tests.support.queue_invariants import contents, require_consistent
from tests.support.record import OVER, new_activity, require_sound, rows_of

MAX_CRASHES = 1
LEASE = 600.0  # never ends by itself within a test
NO_SUCH_PID = 2**22 + 1  # above the largest that Linux gives
WORKERS = ("left", "right")
DISPOSITIONS = {
    Status.COMPLETE: Disposition.ACK,
    Status.CANCELED: Disposition.ACK,
    Status.ERROR: Disposition.DEAD_LETTER,
    Status.QUEUED: Disposition.RETRY,
}


T = TypeVar("T")


# Statuses are drawn as text, so that a printed example is Python.
picks = st.integers(min_value=0, max_value=2**16)
workers = st.sampled_from(WORKERS)


class ActivityMachine(RuleBasedStateMachine):
    """The rules are what producers, workers, operators and faults do. Subclasses choose the servers."""

    # What a printed example needs to run where it is pasted.
    imports: ClassVar[Sequence[str]] = ()

    def __init__(self) -> None:
        super().__init__()
        if currently_in_test_context():
            note("\n".join(self.imports))

    def servers(self) -> tuple[Engine, RedisQueue]:
        """A database that has the tables, and an empty queue."""
        raise AssertionError("a subclass gives the servers")

    @initialize()
    def begin(self) -> None:
        self.engine, self.queue = self.servers()
        self.queue.policy = QueuePolicy(lease_seconds=LEASE, max_crashes=MAX_CRASHES)
        settings = load_settings(database_url=str(self.engine.url), max_crashes=MAX_CRASHES)
        self.reconciler = Reconciler(self.engine, self.queue, settings)
        self.expected: dict[UUID, ActivityModel] = {}
        self.views = {slot: WorkerView(_new_name()) for slot in WORKERS}
        self.late_leases: list[HeldLease] = []
        self.lengths: dict[UUID, int] = {}
        self.fences: dict[UUID, int] = {}
        self.tokens: dict[UUID, int] = {}  # the highest that the queue ever gave
        self.crashes: dict[UUID, int] = {}  # by the queue's memory, which it may lose
        self.shared: set[int] = (
            set()
        )  # tokens of tasks that are charged nothing for the death of their worker
        self.reconciler.run_round(full_pass=False)
        self.enqueue(dispatched=True, level=1)
        self.enqueue(dispatched=True, level=0)

    # Producers and operators.

    @precondition(lambda self: self.expected)
    @rule(pick=picks)
    def dispatch_again(self, pick: int) -> None:
        """The reply to a dispatch was lost, or the outbox dispatcher sends it a second time."""
        task = _pick(list(self.expected), pick)
        if self.queue.known([task])[0]:
            before = contents(self.queue)
            self.queue.enqueue([Dispatch(task_id=task, payload=b"{}", level=1)])
            assert contents(self.queue) == before, "a task that the queue knows was taken once more"

    @rule(dispatched=st.sampled_from([True, True, False]), level=st.integers(0, 1))
    def enqueue(self, dispatched: bool, level: int) -> None:
        """`dispatched` is False for a producer that died between its commit and its dispatch."""
        activity = new_activity(self.queue.name)
        with self.engine.begin() as connection:
            statements.record_enqueued(connection, [activity])
            # An hour ago: the reconciler leaves a producer two seconds to dispatch by itself.
            age = f"UPDATE {ACTIVITY_TABLE} SET created_at = :then WHERE queue_name = :queue"
            connection.execute(text(age), {"then": "2020-01-01 00:00:00.000000", "queue": self.queue.name})
        self.expected[activity.id] = ActivityModel()
        if dispatched:
            self.queue.enqueue([Dispatch(task_id=activity.id, payload=b"{}", level=level)])
            with self.engine.begin() as connection:
                statements.mark_dispatched(connection, [activity.id])

    @precondition(lambda self: self.expected)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        task = _pick(list(self.expected), pick)
        before = self.expected[task].status
        self.expected[task].cancel()
        with self.engine.begin() as connection:
            standing = statements.request_cancel(connection, [task], "Canceled on request.")
        wanted = {} if before in OVER else {task: Status(self.expected[task].status)}
        assert standing == wanted, "the answer to a cancel differs from the store"
        if standing.get(task) is Status.RUNNING:
            self.queue.request_cancel([task])

    # Workers.

    @rule(slot=workers, want=st.integers(1, 3), records=st.booleans(), due=st.booleans(), twice=st.booleans())
    def take(self, slot: str, want: int, records: bool, due: bool, twice: bool) -> None:
        """A whole round: claim and start. `due` lets the delays of all retries pass before it."""
        if due:
            self._let_retries_fall_due()
        self.claim(slot, want, records)
        self._start(self.views[slot], twice=twice)

    @rule(slot=workers, want=st.integers(0, 3), records=st.booleans())
    def claim(self, slot: str, want: int, records: bool) -> None:
        """`records` is False for a worker that dies before it records what the queue released from others."""
        view = self.views[slot]
        nonce, finishes = uuid4().hex, view.finishes
        view.finishes = []
        tokens = self._tokens()
        answer = self._step(view, nonce, finishes, want)
        stale = tuple(f for f in finishes if tokens.get(f.task_id, (0, ""))[0] != f.token)
        assert answer.stale == stale, "the queue accepted the wrong finishes"
        expired = {**answer.expired.requeued, **answer.expired.dead}
        ended = {f.task_id for f in finishes if f not in stale}
        for worker in {tokens[task][1] for task in expired}:
            self._share({t: token for t, (token, by) in tokens.items() if by == worker and t not in ended})
        self._count_crashes(expired, answer.expired.dead)
        for claim in answer.claims:
            assert claim.token > self.tokens.get(claim.task_id, 0), "a token was issued twice"
            self.tokens[claim.task_id] = claim.token
        view.last_step = (nonce, finishes, want, answer)
        view.take(answer.claims)
        if records:
            self._record_revoked(answer)

    @precondition(lambda self: any(view.last_step for view in self.views.values()))
    @rule(pick=picks)
    def send_the_last_step_again(self, pick: int) -> None:
        view = _pick([view for view in self.views.values() if view.last_step], pick)
        assert view.last_step is not None
        nonce, finishes, want, first = view.last_step
        before, tokens = contents(self.queue), self._tokens()
        again = self._step(view, nonce, finishes, want)
        assert contents(self.queue) == before, "I7: a step sent again changed the queue"
        same = (again.stale, again.expired) == (first.stale, first.expired)
        assert same, "I7: a step sent again answered something else"
        left = [(c.task_id, c.token) for c in first.claims if tokens.get(c.task_id) == (c.token, view.name)]
        claims = [(c.task_id, c.token) for c in again.claims]
        assert claims == left, "I7: a step sent again gave other claims than those still held"

    @precondition(lambda self: any(view.claims for view in self.views.values()))
    @rule(pick=picks, twice=st.booleans())
    def start(self, pick: int, twice: bool) -> None:
        """A worker records the start of all that it claimed; `twice` when the reply of the commit was lost."""
        self._start(_pick([view for view in self.views.values() if view.claims], pick), twice=twice)

    @precondition(lambda self: self._running())
    @rule(pick=picks)
    def progress(self, pick: int) -> None:
        _, holding = _pick(self._running(), pick)
        self._append(holding)

    @precondition(lambda self: self._running())
    @rule(
        pick=picks,
        status=st.sampled_from(["complete", "error", "queued", "canceled"]),
        twice=st.booleans(),
        report=st.booleans(),
    )
    def end(self, pick: int, status: str, twice: bool, report: bool) -> None:
        """A handler ended; with `report` its last progress travels in the same transaction."""
        self._end(*_pick(self._running(), pick), status, twice=twice, report=report)

    @rule(
        slot=workers,
        statuses=st.lists(st.sampled_from(["complete", "queued", "error"]), min_size=1, max_size=3),
        frozen=st.booleans(),
        twice=st.booleans(),
    )
    def work(self, slot: str, statuses: list[str], frozen: bool, twice: bool = False) -> None:
        """One batch of a worker; `frozen` stops it before the queue receives the ends that the store has."""
        self.take(slot, len(statuses), records=True, due=True, twice=False)
        for status in statuses:
            if self.views[slot].running:
                self._end(self.views[slot], self.views[slot].running[0], status, twice=twice, report=False)
        if frozen:
            self.freeze(slot, taken_over=True, records=True, renews=False, sends=None)

    @precondition(lambda self: self._running())
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        """A shutdown gives a task back, uncharged."""
        self._release(*_pick(self._running(), pick))

    @rule(slot=workers, times=st.integers(2, 3))
    def shut_down_one_after_another(self, slot: str, times: int) -> None:
        """Each deployment finds a task running and gives it back; its successor has the same luck."""
        for _ in range(times):
            self.take(slot, 3, records=True, due=True, twice=False)
            for holding in list(self.views[slot].running):
                self._release(self.views[slot], holding)

    @rule(slot=workers)
    def renew(self, slot: str) -> None:
        """A worker renews all leases that it knows and is informed of the lost ones; it may act on that late."""
        view = self.views[slot]
        sent = {h.task: h.token for h in view.running} | {c.task_id: c.token for c in view.claims}
        holders = self._tokens()
        lost, _ = self.queue.renew(view.name, sent)
        gone = {i for i, t in sent.items() if holders.get(i) != (t, view.name)}
        assert lost == gone, "the queue renewed the wrong leases"
        assert self._tokens() == holders, "a renewal that changed who holds what"

    # Faults.

    @precondition(lambda self: any(view.claims or view.running for view in self.views.values()))
    @rule(slot=workers, by_neighbour=st.booleans())
    def crash(self, slot: str, by_neighbour: bool) -> None:
        """A worker process dies; its pool sees it, or with `by_neighbour` another pool of the same host does."""
        view = self.views[slot]
        self.views[slot] = WorkerView(_new_name())
        self.late_leases += view.running
        self.late_leases += [HeldLease(claim.task_id, claim.token) for claim in view.claims]
        held = self._leases_of(view.name)
        rows = {task: self.expected[task] for task in held}
        begun = any((row.status, row.fence) == ("running", held[task]) for task, row in rows.items())
        suspects = contents_of(self.queue).suspects
        alone = any(suspects.get(str(task), (0, 0))[0] >= ALONE_AFTER for task in held)
        if by_neighbour:
            self.queue.register(view.name, f"{host_identity()}|{NO_SUCH_PID}|1")
            for _ in range(2):  # its own pool has a round for it first
                self.reconciler.release_dead_neighbours()
            assert view.name not in self.queue.registered(), "a dead worker is registered still"
        else:
            self.reconciler.release_worker(view.name, charge=True)
        dead = self.queue.dead_reasons(list(held))
        if len(held) > 1 or not (begun or alone):
            self.shared |= set(held.values())
        self._count_crashes(held, dead)
        for task, token in held.items():
            self.expected[task].lose(token, "error" if task in dead else "queued")

    @precondition(lambda self: any(view.claims or view.running for view in self.views.values()))
    @rule(
        slot=workers,
        taken_over=st.booleans(),
        records=st.booleans(),
        renews=st.booleans(),
        sends=st.sampled_from([None, "complete", "queued"]),
    )
    def freeze(self, slot: str, taken_over: bool, records: bool, renews: bool, sends: str | None) -> None:
        """A worker stands still past its leases, and does not know it when it goes on, maybe with an outcome."""
        for task in self._leases_of(self.views[slot].name):
            self.queue.client.zadd(self.queue.keys.lease, {str(task): 1}, xx=True)
        if taken_over:
            (other,) = set(WORKERS) - {slot}
            self.take(other, 3, records, due=False, twice=False)
        if renews:
            self.renew(slot)
        for holding in self.views[slot].running:
            if sends is not None and self.expected[holding.task].fence != holding.token:
                self._finish(holding, Status(sends))

    @precondition(lambda self: self.late_leases or self._running())
    @rule(
        pick=picks,
        status=st.sampled_from(["complete", "error", "queued"]),
        start=st.booleans(),
    )
    def late_words(self, pick: int, status: str, start: bool) -> None:
        """What a dead worker had sent, or one that lost its lease still sends, arrives now under its old token."""
        lost = [h for _, h in self._running() if self.expected[h.task].fence != h.token]
        if lost or self.late_leases:
            late = _pick(lost + self.late_leases, pick)
            if start:
                claim = Claim(task_id=late.task, token=late.token, payload=b"{}")
                self._record_starts([claim])
            else:
                self._append(late)
                self._finish(late, Status(status))

    @precondition(lambda self: self.expected)
    @rule(healed=st.booleans())
    def redis_loses_everything(self, healed: bool) -> None:
        self.queue.drop()
        self.crashes.clear()
        for view in self.views.values():
            view.last_step = None
        if healed:
            self.heal(thorough=False)

    @rule(thorough=st.booleans())
    def heal(self, thorough: bool) -> None:
        forgot = not self.queue.client.hexists(self.queue.keys.cfg, "epoch")
        dead = set(self.queue.dead_reasons(list(self.expected)))
        leased = set(self._tokens())
        self.reconciler.run_round(full_pass=thorough)
        for task, expected in self.expected.items():
            if expected.flagged and task not in leased and not forgot:  # no worker is left that could stop it
                expected.lose(expected.fence, "canceled")
        if forgot or thorough:
            for task in dead:
                self.expected[task].never_ran(self.expected[task].fence + 1, "error")
        pending = [task for task, expected in self.expected.items() if expected.status not in OVER]
        healed = all(self.queue.known(pending))
        assert healed or not (forgot or thorough), (
            "a pending task is not in the queue after the reconciliation"
        )

    # What holds at any time.

    @invariant()
    def the_queue_is_consistent(self) -> None:
        if hasattr(self, "queue"):
            require_consistent(self.queue)

    @invariant()
    def the_record_is_as_expected(self) -> None:
        if not hasattr(self, "engine"):
            return
        rows = rows_of(self.engine, list(self.expected))
        for task, expected in self.expected.items():
            row = rows[task]
            require_sound(row)
            found = (row.status, row.fence, row.attempt)
            wanted = (expected.status, expected.fence, expected.attempt)
            assert found == wanted, f"the record is not what it should be: {row}"
            assert row.cancel_requested == expected.flagged, "a cancel request was lost, or invented"
            assert row.fence >= self.fences.get(task, 0), "a fence fell"
            self.fences[task] = row.fence
            if task in self.lengths:
                assert len(row.log) == self.lengths[task], "a log grew after its end"
            elif row.status in OVER:
                self.lengths[task] = len(row.log)

    def teardown(self) -> None:
        """After any history, the reconciler and one live worker bring every task to its end."""
        if hasattr(self, "engine"):
            self._drain()
            self.the_queue_is_consistent()
            self.the_record_is_as_expected()
            left = {task for task, expected in self.expected.items() if expected.status not in OVER}
            assert not left, "tasks that never ended"
            self.close()

    def close(self) -> None:
        """Let go of the servers."""

    def _drain(self) -> None:
        for slot in WORKERS:
            self.crash(slot, by_neighbour=False)
        self.heal(thorough=True)
        for _ in range(4 * len(self.expected) + 4):
            self.take("left", 8, records=True, due=True, twice=False)
            while self._running():
                self.end(0, "complete", twice=False, report=False)
            depth = self.queue.depth()
            if depth.known == depth.dead and not self.views["left"].finishes:
                break
        self.heal(thorough=True)

    def _start(self, view: WorkerView, *, twice: bool) -> None:
        claims, view.claims = view.claims, []
        recorded = self._record_starts(claims, times=1 + twice)
        for claim in claims:
            if claim.task_id in recorded.started:
                view.running.append(HeldLease(claim.task_id, claim.token))
            else:
                self._refuse(view, *recorded.refused[claim.task_id])

    def _record_starts(self, claims: Sequence[Claim], *, times: int = 1) -> Recorded:
        """Send starts; each must be accepted exactly when the model accepts it."""
        for _ in range(times):
            recorded = self._record(Batch(claims=claims))
        for claim in claims:
            expected = self.expected[claim.task_id]
            if expected.flagged:
                expected.never_ran(claim.token, "canceled")
            if expected.start(claim.token):
                assert recorded.started[claim.task_id].attempt == expected.attempt, "attempts were miscounted"
            else:
                assert claim.task_id not in recorded.started, "a start that should be refused"
        return recorded

    def _let_retries_fall_due(self) -> None:
        due: list[Any] = self.queue.client.zrange(self.queue.keys.sched, 0, -1)
        for task in due:
            self.queue.client.zadd(self.queue.keys.sched, {task: 1})

    def _running(self) -> list[tuple[WorkerView, HeldLease]]:
        return [(view, holding) for view in self.views.values() for holding in view.running]

    def _step(self, view: WorkerView, nonce: str, finishes: list[Finish], want: int) -> StepResult:
        request = StepRequest(
            worker=view.name, nonce=nonce, finishes=finishes, want=want, lowest_token=view.lowest_token
        )
        return self.queue.step(request)

    def _record_revoked(self, answer: StepResult) -> None:
        with self.engine.begin() as connection:
            for tokens, status in zip(answer.expired, (Status.QUEUED, Status.ERROR), strict=True):
                moved = statements.record_revoked(connection, tokens, status, "Lost.")
                lost_by = {i for i, token in tokens.items() if self.expected[i].lose(token, status.value)}
                assert moved == lost_by, "record_revoked changed a newer row, or left one unchanged"

    def _refuse(self, view: WorkerView, finish: Finish, outranked: int | None) -> None:
        expected = self.expected[finish.task_id]
        if outranked is None:
            assert expected.status in OVER, "a start was refused that should not be"
            assert finish.disposition is Disposition.ACK
        else:
            assert outranked == expected.fence, "the store reported a higher token that does not exist"
            assert finish.disposition is Disposition.RETRY
            view.lowest_token = max(view.lowest_token, outranked + 1)
        view.finishes.append(finish)

    def _record(self, batch: Batch) -> Recorded:
        return record(Retrying(self.engine, lambda: True), batch, load_settings())

    def _append(self, holding: HeldLease) -> None:
        entry = LogEntry(
            id=holding.task, token=holding.token, n=holding.entries, message="half", percentage=50
        )
        holding.entries += 1
        with self.engine.begin() as connection:
            statements.record_progress(connection, [entry])

    def _finish(
        self,
        holding: HeldLease,
        status: Status,
        *,
        times: int = 1,
        report: bool = False,
        failed: bool = False,
    ) -> str | None:
        """Send an end; it must be accepted exactly when the model accepts it."""
        entries = []
        if report:
            entries = [LogEntry(id=holding.task, token=holding.token, n=holding.entries, message="nearly")]
            holding.entries += 1
        error = "broke" if status is Status.ERROR else None
        outcome = ActivityUpdate(
            id=holding.task,
            token=holding.token,
            n=holding.entries,
            status=status,
            message="Over.",
            error=error,
            failed=failed,
        )
        holding.entries += 1
        was = self.expected[holding.task]
        said_before = was.fence == holding.token and was.status != "running"
        became = self.expected[holding.task].end(holding.token, status.value)
        for _ in range(times):
            recorded = self._record(Batch(entries=entries, updates=[outcome]))
            if not said_before:
                accepted = {holding.task: Status(became)} if became else {}
                assert recorded.accepted == accepted, "the wrong updates were accepted"
        return became

    def _end(self, view: WorkerView, holding: HeldLease, status: str, *, twice: bool, report: bool) -> None:
        view.running.remove(holding)
        # A handler that failed and has retries left.
        failed = status == "queued"
        accepted = self._finish(holding, Status(status), times=1 + twice, report=report, failed=failed)
        disposition = DISPOSITIONS[Status(accepted)] if accepted else Disposition.ACK
        reason = "failed for good" if disposition is Disposition.DEAD_LETTER else ""
        if accepted or self.expected[holding.task].status in OVER:
            view.finishes.append(
                Finish(
                    task_id=holding.task, token=holding.token, disposition=disposition, reason=reason, delay=0
                )
            )

    def _release(self, view: WorkerView, holding: HeldLease) -> None:
        view.running.remove(holding)
        lease = {holding.task: holding.token}
        if self._finish(holding, Status.QUEUED) == "queued":
            assert not self.queue.release(view.name, lease).dead, "a release that counts as a crash"
        elif self.expected[holding.task].status in OVER:
            view.finishes.append(
                Finish(task_id=holding.task, token=holding.token, disposition=Disposition.ACK)
            )

    def _share(self, leases: Mapping[UUID, int]) -> None:
        """A worker died or fell silent with these leases: none of several is charged."""
        if len(leases) > 1:
            self.shared |= set(leases.values())

    def _count_crashes(self, lost: Mapping[UUID, int], dead: Collection[UUID]) -> None:
        """A task is buried once more than the limit of its holders died with it alone, and not before."""
        charged = {task for task, token in lost.items() if token not in self.shared}
        assert set(dead) <= charged, "a task is buried for the death of a worker that had others"
        for task in charged:
            self.crashes[task] = self.crashes.get(task, 0) + 1
            assert (self.crashes[task] > MAX_CRASHES) is (task in dead), "crashes were miscounted"

    def _leases_of(self, worker: str) -> dict[UUID, int]:
        return {task: token for task, (token, by) in self._tokens().items() if by == worker}

    def _tokens(self) -> dict[UUID, tuple[int, str]]:
        """Who holds what under which token, from the queue's own book."""
        owners: dict[Any, Any] = self.queue.client.hgetall(self.queue.keys.holder)
        pairs = [(UUID(task.decode()), owner.decode().partition("|")) for task, owner in owners.items()]
        return {task: (int(token), by) for task, (token, _, by) in pairs}


def _new_name() -> str:
    return uuid4().hex[:8]


def _pick(things: list[T], pick: int) -> T:
    return things[pick % len(things)]
