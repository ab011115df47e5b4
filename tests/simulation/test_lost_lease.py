"""A handler whose worker was stalled past its lease is canceled, and does not run to its end beside its successor."""

from __future__ import annotations

from harness.history.operation import OperationType
from harness.simulation import Plan, simulate
from harness.simulation.plan import FaultKind, PlannedTask, SimulatedFault
from harness.simulation.themes import LEASE

WORK = 60.0
STALLED_AT, STALLED_SECONDS = 2.0, 10.0


def test_a_handler_of_a_lost_lease_is_canceled_with_the_next_renewal() -> None:
    stall = SimulatedFault(kind=FaultKind.STALL_WORKER, at=STALLED_AT, victim=1, seconds=STALLED_SECONDS)
    task = PlannedTask(number=1, at=0.0, work=WORK)
    outcome = simulate(Plan(seed=1, pools=2, workers=1, tasks=(task,), faults=(stall,)))
    runs = [operation for operation in outcome.history if operation.f == "run"]
    (first, *_), (stopped, *_) = (
        [operation for operation in runs if operation.type is kind]
        for kind in (OperationType.INVOKE, OperationType.INFO)
    )
    assert stopped.value["fence"] == first.value["fence"], (
        "the run that lost its lease is the one that is stopped"
    )
    awake = STALLED_AT + STALLED_SECONDS
    assert stopped.time / 1e9 - awake < LEASE, "it ends with a renewal, not with its work"
