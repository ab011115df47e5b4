"""Defects of what a failure, a stop, a crash and the death of a neighbour are charged to."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_NO_STORE = "it has no activity store"
_OWN_WORKERS = "it simulates the workers itself"

STOP_COUNTS_AS_FAILURE = Defect(
    name="stop-counts-as-failure",
    imitates="a counter of retries that rises whenever a task goes back",
    breaks="after a few deployments a task that failed once has no retry left",
    part="hand-over stop to release",
    blind={
        CHAOS: "tried by a scenario of a release only, see below",
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: _OWN_WORKERS,
    },
    scenario="drain-pools",
    edits=(
        Edit(
            where="agentexec.worker.loop:WorkerLoop._update",
            old="failed=result.kind is RunKind.RETRY",
            new="failed=status is Status.QUEUED",
        ),
    ),
)

NEIGHBOURS_CHARGED = Defect(
    name="neighbours-charged",
    imitates="a count of deliveries: each task of a dead worker is suspected",
    breaks="tasks become dead letters as another one, beside which they ran, kills its workers",
    part="script step",
    blind={CHAOS: "no chaos run kills a worker of several tasks often enough"},
    edits=(
        Edit(where="lua/common.lua", old="if charge and shared ~= token then", new="if charge then"),
        Edit(
            where="harness.simulation.queue.books:Books.requeue",
            old="if charge and shared != token:",
            new="if charge:",
        ),
    ),
)

BURIED_BUT_QUEUED = Defect(
    name="buried-but-queued",
    imitates="a dead letter whose status the process writes that moved it, if it lives",
    breaks="a task that nothing runs any more is shown as running for ever",
    part="hand-over dead letter to record",
    blind={
        ACTIVITY_MACHINE: "hardly any of its last crashes is left unrecorded",
        QUEUE_MACHINE: _NO_STORE,
        CHAOS: "it takes a process that dies between two calls",
    },
    test="tests/unit/agentexec/worker/test_reconciler.py::test_the_same_of_a_task_that_became_a_dead_letter",
    rare="it takes two crashes and an outage",
    edits=(
        Edit(
            where="agentexec.worker.reconciler:Reconciler._compare",
            old="        self._end_dead_letters([i for i in ids if known[i]])\n",
            new="",
        ),
    ),
)
