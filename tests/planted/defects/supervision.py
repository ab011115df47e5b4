"""Defects of the pool: what it does about workers that died or stopped, and what they do about their pool."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_SUPERVISOR = "agentexec.worker.supervisor:Supervisor"
_WORKER = "agentexec.worker.process:Worker"
_SUPERVISED = "tests/unit/agentexec/worker/test_supervisor.py"
_NO_POOL = {QUEUE_MACHINE: "it has no pool", ACTIVITY_MACHINE: "it has no pool"}

KILLED_NOT_REPLACED = Defect(
    name="killed-not-replaced",
    imitates="a supervisor that reads exit codes above 0 as failures; a signal gives one below 0",
    breaks="a pool loses one worker with each kill, until none is left",
    part="hand-over death to respawn",
    blind={**_NO_POOL, CHAOS: "tried by a scenario of a release only, see below"},
    scenario="kill-worker",
    test=f"{_SUPERVISED}::test_a_killed_child_is_replaced_at_once_and_its_tasks_are_charged",
    edits=(
        Edit(
            where=f"{_SUPERVISOR}._remove",
            old="        if not self._draining and not left:\n            self._respawn(death)",
            new="        if not self._draining and not left and code >= 0:\n            self._respawn(death)",
        ),
    ),
)

DEATH_NOT_RELEASED = Defect(
    name="death-not-released",
    imitates="a queue that leaves the tasks of a dead worker to the end of their leases",
    breaks="each task of a killed worker waits for as long as a lease",
    part="hand-over death to release",
    blind={**_NO_POOL, CHAOS: "tried by a scenario of a release only, see below"},
    scenario="kill-worker",
    test=f"{_SUPERVISED}::test_a_killed_child_is_replaced_at_once_and_its_tasks_are_charged",
    edits=(
        Edit(
            where=f"{_SUPERVISOR}._remove",
            old="        self._maintenance.release(child.spec.name, charge=",
            new="        (lambda _, charge: None)(child.spec.name, charge=",
        ),
        Edit(
            where="agentexec.worker.reconciler:Reconciler.run_round",
            old="        self.release_dead_neighbours()\n",
            new="",
        ),
    ),
)

ORPHAN_WORKS_ON = Defect(
    name="orphan-works-on",
    imitates="workers that learn of the end of their parent by a signal, which SIGKILL does not send",
    breaks="workers of a killed pool work on beside those of the next one, and nothing stops them",
    part="hand-over pool to orphan",
    blind={**_NO_POOL, CHAOS: "no scenario kills the parent of a pool alone"},
    edits=(
        Edit(
            where=f"{_WORKER}._obey",
            old="""        self._event_loop.call_soon_threadsafe(self._stop_now)
        runtime.current().sleep(ORPHAN_GRACE)
        runtime.current().end_process(ExitCode.FAILED)
""",
            new="",
        ),
    ),
)

RECONCILER_ENDS = Defect(
    name="reconciler-ends",
    imitates="a background thread without a handler for the errors of one of its two servers",
    breaks="after the first moment without Postgres a pool dispatches and releases nothing any more",
    part="hand-over record to queue",
    blind={
        **_NO_POOL,
        CHAOS: "no scenario takes Postgres away and leaves something to the reconciler afterwards",
    },
    edits=(
        Edit(
            where="agentexec.worker.maintenance:_succeeds",
            old="    try:\n        work()\n    except",
            new="    try:\n        work()\n    except SQLAlchemyError:\n        raise SystemExit from None\n    except",
        ),
    ),
)

LOST_LEASE_RUNS_ON = Defect(
    name="lost-lease-runs-on",
    imitates="a heartbeat whose answer is not read",
    breaks="a handler of a lost lease runs to its end beside the one that took over",
    part="hand-over lease to handler",
    blind={**_NO_POOL, CHAOS: "the handlers of paused workers end within the time that a lost run may take"},
    scenario="pause-worker",
    test="tests/simulation/test_lost_lease.py::test_a_handler_of_a_lost_lease_is_canceled_with_the_next_renewal",
    edits=(
        Edit(
            where=f"{_WORKER}._renew",
            old=" | dict.fromkeys(lost, RunKind.LOST)\n",
            new="\n",
        ),
    ),
)

RESULT_BEFORE_RECORD = Defect(
    name="result-before-record",
    imitates="a worker that publishes the result and acknowledges, and writes the record afterwards",
    breaks="a caller reads a result, and the task runs again and gives another",
    part="hand-over record to finish",
    blind={
        CHAOS: "a run reads results at its end, when the record has them too",
        QUEUE_MACHINE: "it has no worker",
        ACTIVITY_MACHINE: "it simulates the workers itself",
    },
    edits=(
        Edit(
            where="agentexec.worker.loop:WorkerLoop.run",
            old="            if batch:\n",
            new="""            for one in results:
                if one.kind is RunKind.COMPLETE:
                    self._finishes.append(
                        Finish(task_id=one.task_id, token=one.token, disposition=Disposition.ACK, result=one.encoded)
                    )
            if self._finishes:
                self._step()
            if batch:
""",
        ),
    ),
)
