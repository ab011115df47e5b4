"""Watches what the queue charges with a crash: a task whose worker died of it, or could not renew its lease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation.plan import FaultKind
from harness.simulation.queue.books import Books, Holder
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process

# Nanoseconds after the end of a fault within which a lease that it cost is found to be over: a lease, and the next
# step of a worker that waits for Postgres.
FOUND_WITHIN = 8 * 10**9
# What can cost any worker its leases, and what only the one that it strikes. Lost messages are sent again in time.
OF_ALL = frozenset(
    {FaultKind.REDIS_AWAY, FaultKind.REDIS_FORGETS, FaultKind.REDIS_FAILS_OVER, FaultKind.REDIS_CLOCK}
)
OF_ONE = frozenset({FaultKind.STALL_WORKER, FaultKind.LATE_REQUEST})
# How the reason of a dead letter begins that had too many crashes.
BY_CRASHES = "its worker died"


class CrashCharges:
    """Compares the books after each call with those before it."""

    def __init__(self, recorder: SimulatedRecorder, processes: Sequence[Process]) -> None:
        """`processes` grows with the run."""
        self._recorder = recorder
        self._processes = processes
        self._workers: dict[str, str] = {}
        self._pids: dict[str, int] = {}  # of every worker that registered
        self._books: Books | None = None
        self._held: dict[UUID, Holder] = {}
        self._crashes: dict[UUID, int] = {}
        self._is_step = False  # whether the call may have ended tasks

    def check(self, books: Books, now: int, call: str = "release") -> Iterator[str]:
        """The charges since the last call that nothing explains, a sentence each. `now` is in nanoseconds."""
        self._is_step = call == "step"
        if books.workers != self._workers:
            self._workers = dict(books.workers)
            self._pids |= {worker: int(one.split("|")[1]) for worker, one in self._workers.items()}
        if books is self._books and books.crash != self._crashes:
            for task, crashes in books.crash.items():
                if crashes > self._crashes.get(task, 0) and task in self._held:
                    yield from self._judged(books, self._held[task].worker, now)
        self._books, self._held, self._crashes = books, dict(books.holder), dict(books.crash)

    def _judged(self, books: Books, worker: str, now: int) -> Iterator[str]:
        held = [one for one, by in self._held.items() if by.worker == worker]
        together = [one for one in held if not _ended(books, one) and not self._goes_on(books, one)]
        if len(together) > 1:
            yield f"I10: a task is charged for the death of {worker}, which had {len(together)} tasks"
        if not self._explained(worker, now):
            yield f"I10: a task is charged with a crash, and {worker} lives and could renew its lease"

    def _goes_on(self, books: Books, task: UUID) -> bool:
        """Whether the worker ended the task in the same call, for a retry that is due at once."""
        return self._is_claimed_again(books, task) or self._is_ready_again(books, task)

    def _is_ready_again(self, books: Books, task: UUID) -> bool:
        token = self._held[task].token
        revoked = any(part.get(task) == token for step in books.last.values() for part in step.expired)
        return self._is_step and task not in books.holder and not revoked

    def _is_claimed_again(self, books: Books, task: UUID) -> bool:
        """Whether the same call claimed the task again: it may have ended it before, for a retry that is due."""
        return (
            task in books.holder
            and books.holder[task] != self._held[task]
            and task not in self._charged(books)
        )

    def _charged(self, books: Books) -> Iterator[UUID]:
        return (task for task, crashes in books.crash.items() if crashes > self._crashes.get(task, 0))

    def _explained(self, worker: str, now: int) -> bool:
        """Whether the worker is dead, or a fault may have cost it its lease."""
        pid = self._pids.get(worker)
        process = next((one for one in self._processes if one.pid == pid), None)
        if process is None or not process.alive or process.stalled_until + FOUND_WITHIN > now:
            return True
        faults = [
            one
            for one in self._recorder.operations
            if one.process == NEMESIS and one.value.get("phase") == INJECT
        ]
        # A clock that goes back makes each lease last longer by as much, also one that an earlier fault lost.
        later = sum(-min(one.value["seconds"], 0) for one in faults if one.f == FaultKind.REDIS_CLOCK)
        for operation in faults:
            value = operation.value
            if operation.time + (abs(value["seconds"]) + later) * 10**9 + FOUND_WITHIN < now:
                continue
            if operation.f in OF_ALL or (operation.f in OF_ONE and value.get("at") == process.name):
                return True
        return False


def _ended(books: Books, task: UUID) -> bool:
    """Whether a holder ended the task in the same call."""
    buried = books.reason.get(task, BY_CRASHES)
    return task not in books.job or task in books.sched.scores or not buried.startswith(BY_CRASHES)
