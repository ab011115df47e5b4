"""Which charges of a crash the watcher of a simulated queue accepts."""

from __future__ import annotations

from uuid import UUID

import pytest

from agentexec.queue.protocol import Revocations
from harness.history import OperationType
from harness.history.names import NEMESIS
from harness.simulation.crash_charges import FOUND_WITHIN, CrashCharges
from harness.simulation.plan import FaultKind
from harness.simulation.queue.books import Books, Holder, Job, Step
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.scheduler import Process, Scheduler

FIRST, SECOND = UUID(int=1), UUID(int=2)
LATE = FOUND_WITHIN + 10**9


class Watched:
    """A worker `w` with leases, and the watcher of its queue."""

    def __init__(self) -> None:
        scheduler = Scheduler(1)
        self.process: Process = scheduler.new_process("pool/0", 0)
        self.recorder = SimulatedRecorder(scheduler)
        self.charges = CrashCharges(self.recorder, [self.process])
        self.books = Books(workers={"w": f"host-0|{self.process.pid}|1"})

    def holds(self, *tasks: UUID) -> None:
        for task in tasks:
            self.books.job[task], self.books.holder[task] = Job(0, b""), Holder(7, "w")
        assert list(self.charges.check(self.books, 0)) == []

    def charged(self, task: UUID, *, now: int = LATE) -> list[str]:
        self.books.revoke(task)
        self.books.crash[task] = 1
        return list(self.charges.check(self.books, now))

    def struck(self, kind: FaultKind, **value: object) -> None:
        value = {"phase": "inject", "seconds": 0.0, **value}
        self.recorder.record(NEMESIS, OperationType.INFO, kind.value, **value)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_crash_of_a_worker_that_lives_and_could_renew_is_a_breach(watched: Watched) -> None:
    watched.holds(FIRST)
    [breach] = watched.charged(FIRST)
    assert "w lives and could renew its lease" in breach


def test_a_crash_of_a_dead_worker_is_none(watched: Watched) -> None:
    watched.holds(FIRST)
    watched.process.alive = False
    assert watched.charged(FIRST) == []


@pytest.mark.parametrize(
    ("kind", "at", "explains"),
    [
        (FaultKind.STALL_WORKER, "pool/0", True),
        (FaultKind.STALL_WORKER, "pool/1", False),
        (FaultKind.LATE_REQUEST, "pool/0", True),
        (FaultKind.LOSE_REPLY, "pool/0", False),
        (FaultKind.REDIS_AWAY, None, True),
        (FaultKind.POSTGRES_AWAY, None, False),
    ],
)
def test_only_a_fault_that_may_have_cost_the_lease_explains_a_crash(
    watched: Watched, kind: FaultKind, at: str | None, explains: bool
) -> None:
    watched.holds(FIRST)
    watched.struck(kind, seconds=2.0, at=at)
    assert (watched.charged(FIRST) == []) is explains


def test_a_fault_long_ago_explains_nothing(watched: Watched) -> None:
    watched.holds(FIRST)
    watched.struck(FaultKind.REDIS_AWAY)
    assert watched.charged(FIRST) != []


def test_none_of_several_tasks_is_charged_with_the_death_of_their_worker(watched: Watched) -> None:
    watched.holds(FIRST, SECOND)
    watched.process.alive = False
    [breach] = watched.charged(FIRST)
    assert breach == "I10: a task is charged for the death of w, which had 2 tasks"


@pytest.mark.parametrize("reason", [None, "failed for good"])
def test_a_task_that_ended_in_the_same_call_was_no_neighbour(watched: Watched, reason: str | None) -> None:
    watched.holds(FIRST, SECOND)
    watched.process.alive = False
    watched.books.revoke(SECOND)
    if reason is None:
        del watched.books.job[SECOND]
    else:
        watched.books.reason[SECOND] = reason
    assert watched.charged(FIRST) == []


def test_what_a_queue_knew_at_another_moment_is_no_charge(watched: Watched) -> None:
    watched.holds(FIRST)
    watched.books = Books(job=watched.books.job, holder=watched.books.holder, crash={FIRST: 3})
    assert list(watched.charges.check(watched.books, LATE)) == []


@pytest.mark.parametrize(("revoked", "breaches"), [(False, 0), (True, 1)])
def test_a_task_that_ended_for_a_retry_that_is_due_at_once_was_no_neighbour(
    watched: Watched, revoked: bool, breaches: int
) -> None:
    """A step that ends one lease of a worker may find another one of it expired, as a clock jumped."""
    watched.holds(FIRST, SECOND)
    watched.process.alive = False
    expired = Revocations(dict.fromkeys([FIRST, *[SECOND] * revoked], 7), {})
    watched.books.last["w"] = Step(nonce="n", claims=(), accepted=(True,), expired=expired)
    watched.books.revoke(FIRST)
    watched.books.revoke(SECOND)
    watched.books.crash[FIRST] = 1
    assert len([*watched.charges.check(watched.books, LATE, "step")]) == breaches
