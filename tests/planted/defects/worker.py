"""Defects of the worker processes and of the reconciler."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_LOOP = "agentexec.worker.loop:WorkerLoop"
_RECONCILER = "agentexec.worker.reconciler:Reconciler"

ACK_BEFORE_RUN = Defect(
    name="ack-before-run",
    imitates="Celery's default, acks_early: the broker forgets a task before its handler runs",
    breaks="a worker that is killed takes its tasks with it",
    part="hand-over record to finish",
    scenario="kill-worker",
    blind={
        QUEUE_MACHINE: "the worker acknowledges, not the queue",
        ACTIVITY_MACHINE: "it simulates the workers itself",
    },
    edits=(
        Edit(
            where=f"{_LOOP}._settle",
            old="        self.runner.begin(runs)\n",
            new="""        self.runner.begin(runs)
        acknowledged = [run.claim for run in runs]
        self._finishes += [Finish(task_id=c.task_id, token=c.token, disposition=Disposition.ACK) for c in acknowledged]
""",
        ),
        # What is acknowledged has no lease that could be lost.
        Edit(
            where="lua/renew.lua",
            old="if gone or holder(id) ~= token then",
            new="if not gone and redis.call('HEXISTS', JOB, id) == 0 then\n  elseif gone or holder(id) ~= token then",
        ),
        Edit(
            where="harness.simulation.queue.memory_queue:MemoryQueue.renew",
            old="return set(leases) - set(kept), books.cancel.intersection(kept)",
            new="return {i for i in leases if i in books.job} - set(kept), books.cancel.intersection(kept)",
        ),
    ),
)

LATE_COMPLETIONS_DROPPED = Defect(
    name="late-completions-dropped",
    imitates="agentexec 0.3.0 stops reading its workers' events before it joins them",
    breaks="what ends during a shutdown is never recorded",
    part="hand-over handler to record",
    scenario="drain-pools",
    blind={
        QUEUE_MACHINE: "it has no worker",
        ACTIVITY_MACHINE: "it simulates the workers itself",
    },
    edits=(
        Edit(
            where=f"{_LOOP}._collect",
            old="        results: list[RunResult] = []\n",
            new="""        results: list[RunResult] = []
        if self._draining:
            for result, _ in taken.results:
                self.leases.remove(result.task_id, result.token)
            taken.results = []
""",
        ),
    ),
)

RECONCILER_RERUNS_COMPLETE = Defect(
    name="reconciler-reruns-complete",
    imitates="a reconciler that dispatches every task that the queue does not have, and a start without a check",
    breaks="after a loss of Redis everything that is complete runs again",
    part="hand-over record to queue",
    scenario="flush-redis",
    blind={
        QUEUE_MACHINE: "it has no activity store",
    },
    edits=(
        Edit(
            where="agentexec.store.reading:pending_after",
            old="sql_in(statuses)",
            new="sql_in({*statuses, Status.COMPLETE})",
        ),
        Edit(
            where="agentexec.store.reading:pending",
            old="AND status {pending}",
            new="AND status IN ('queued', 'running', 'complete')",
        ),
        Edit(
            where="agentexec.store.statements:STARTED",
            old="AND a.status {sources}",
            new="AND a.status IN ('queued', 'running', 'complete')",
        ),
    ),
)

REFUSED_RESULT_IS_READ = Defect(
    name="refused-result-is-read",
    imitates="a result backend beside the queue: it keeps what each worker sends, also one that lost the task",
    breaks="a caller reads the result of a run that the record refused",
    part="hand-over record to finish",
    scenario="pause-worker",
    blind={
        QUEUE_MACHINE: "it has no worker",
        ACTIVITY_MACHINE: "it simulates the workers itself",
        CHAOS: "a worker that resumes stops the handlers whose leases it lost, before they return",
    },
    edits=(
        Edit(
            where=f"{_LOOP}._conclude",
            old="            COUNTERS.add(STALE)\n            return\n",
            new="""            COUNTERS.add(STALE)
            kept = {"task_id": result.task_id, "token": result.token, "result": result.encoded}
            self._finishes.append(Finish(**kept, disposition=Disposition.ACK))
            return
""",
        ),
    ),
)

REFUSED_START_RUNS = Defect(
    name="refused-start-runs",
    imitates="a claim by UPDATE of several rows that asks whether any row changed, and not which",
    breaks="a canceled task runs if another task starts in the same statement",
    part="hand-over start to handler",
    scenario="cancel-storm",
    blind={
        QUEUE_MACHINE: "it has no worker",
        ACTIVITY_MACHINE: "it simulates the workers itself",
    },
    edits=(
        Edit(
            where=f"{_LOOP}._settle",
            old="recorded.started.get(claim.task_id))",
            new="recorded.started.get(claim.task_id, next(iter(recorded.started.values()), None)))",
        ),
    ),
)

OUTBOX_WAITS = Defect(
    name="outbox-waits",
    imitates="outbox dispatchers that share the slow timer of a clean-up",
    breaks="a task that Redis did not take, or whose producer died, starts half a minute late",
    part="hand-over record to queue",
    scenario="kill-worker",
    blind={
        QUEUE_MACHINE: "it has no pool",
        ACTIVITY_MACHINE: "it has no clock for the rounds of a pool",
        CHAOS: "the comparison dispatches these tasks too: they are late, not lost",
    },
    edits=(
        Edit(
            where=f"{_RECONCILER}.run_round",
            old="        self.dispatch_outbox()\n",
            new="        if full_pass:\n            self.dispatch_outbox()\n",
        ),
    ),
)
