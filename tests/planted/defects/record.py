"""Defects of the activity store."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_STORE = "agentexec.store.statements"
_STARTED, _FINISHED = f"{_STORE}:STARTED", f"{_STORE}:FINISHED"
_CANCEL_REQUESTED = f"{_STORE}:CANCEL_REQUESTED"
_MAY_FINISH = "a.status {sources} AND a.fence = v.token"

NO_FENCE_ON_FINISH = Defect(
    name="no-fence-on-finish",
    imitates="UPDATE ... WHERE id = $1 AND status = 'running', as most queues in SQL finish a job",
    breaks="a worker that lost its lease ends the run of the one that took over",
    part="statement FINISHED",
    scenario="pause-worker",
    edits=(
        Edit(where=_FINISHED, old=_MAY_FINISH, new="a.status {sources}"),
        Edit(where="lua/step.lua", old="if held ~= token then", new="if not held then"),
        Edit(
            where="harness.simulation.queue.step:_finish",
            old="if not books.holds(task_id, finish.token):",
            new="if task_id not in books.holder:",
        ),
    ),
)

ERROR_BEFORE_RETRY = Defect(
    name="error-before-retry",
    imitates="agentexec 0.3.0 logs ERROR for each failed attempt and then puts the task back",
    breaks="a caller that waits for the end of a task reads that it failed, and later that it is running",
    part="statement FINISHED",
    scenario="failing-tasks",
    blind={
        QUEUE_MACHINE: "it has no activity store",
    },
    edits=(
        Edit(
            where=_FINISHED,
            old="CASE WHEN v.status = 'queued' AND a",
            new="CASE WHEN v.failed THEN 'error' WHEN v.status = 'queued' AND a",
        ),
        Edit(
            where=_STARTED, old="AND a.status {sources}", new="AND a.status IN ('queued', 'running', 'error')"
        ),
        Edit(
            where="agentexec.worker.loop:WorkerLoop._conclude",
            old="if status is ending.status else",
            new="if status is ending.status or result.kind is RunKind.RETRY else",
        ),
    ),
)

STATUS_BY_WALL_CLOCK = Defect(
    name="status-by-wall-clock",
    imitates="agentexec 0.3.0: the status is that of the newest log entry, by the clock",
    breaks="the latest write decides, whichever worker has the lease and even if the task has ended",
    part="statement FINISHED",
    scenario="pause-worker",
    blind={
        QUEUE_MACHINE: "it has no activity store",
    },
    edits=(Edit(where=_FINISHED, old=_MAY_FINISH, new="a.updated_at <= {now}"),),
)

REAPER_OVERWRITES_COMPLETE = Defect(
    name="reaper-overwrites-complete",
    imitates="riverqueue/river#1302: the rescuer requeues a job that was completed since its read",
    breaks="a task that is complete runs again",
    part="statement REVOKED",
    scenario="redis-fails-over",
    blind={
        QUEUE_MACHINE: "it has no activity store",
    },
    edits=(Edit(where=f"{_STORE}:REVOKED", old=" AND a.status {sources}", new=""),),
)

CANCEL_OVERWRITES_COMPLETE = Defect(
    name="cancel-overwrites-complete",
    imitates="a cancel that reads the status before it writes, and not in the statement that writes",
    breaks="a complete task is shown as canceled",
    part="statement CANCEL_REQUESTED",
    scenario="cancel-storm",
    blind={
        QUEUE_MACHINE: "it has no activity store",
    },
    edits=(
        Edit(
            where=_CANCEL_REQUESTED,
            old="status = CASE WHEN status {sources} THEN 'canceled' ELSE status END",
            new="status = CASE WHEN status {running} THEN status ELSE 'canceled' END",
        ),
        Edit(where=_CANCEL_REQUESTED, old=" AND a.status {pending}", new=""),
    ),
)

RETRY_NOT_CHARGED = Defect(
    name="retry-not-charged",
    imitates="a counter of retries in the message, which the requeued copy does not have",
    breaks="a task that always fails is tried for ever",
    part="statement FINISHED",
    scenario="failing-tasks",
    blind={
        QUEUE_MACHINE: "it has no activity store",
        ACTIVITY_MACHINE: "its model does not count failures",
    },
    edits=(
        Edit(
            where=_FINISHED,
            old="failures = failures + CASE WHEN v.failed THEN 1 ELSE 0 END",
            new="failures = failures",
        ),
    ),
)
