"""Defects of fencing: what a call under a lost token, or one that is sent again, still changes."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.edits import Edit

_MEMORY = "harness.simulation.queue.memory_queue:MemoryQueue"
_STORE = "agentexec.store.statements"
_NO_STORE = "it has no activity store"
_NO_WORKER = "it simulates the workers itself"

RESENT_START_COUNTS = Defect(
    name="resent-start-counts",
    imitates="attempt = attempt + 1 in a statement that is sent again after a lost reply",
    breaks="a handler reads a higher attempt than the record of starts has",
    part="statement STARTED",
    blind={CHAOS: "tried by a scenario of a release only, see below", QUEUE_MACHINE: _NO_STORE},
    edits=(
        Edit(
            where=f"{_STORE}:STARTED",
            old="attempt = attempt + CASE WHEN a.fence < v.token THEN 1 ELSE 0 END",
            new="attempt = attempt + 1",
        ),
    ),
)

REVOKED_WITHOUT_FENCE = Defect(
    name="revoked-without-fence",
    imitates="a reaper that requeues by id and status, as the token stands in its list only",
    breaks="a late note of a lost lease requeues the run that took over",
    part="statement REVOKED",
    blind={QUEUE_MACHINE: _NO_STORE, CHAOS: "a note of a lost lease is late by milliseconds there"},
    test="tests/conformance/test_store.py::test_a_late_holder_is_refused_everything_once_another_has_started",
    rare="a note of a lost lease is hardly ever later than the next start",
    edits=(Edit(where=f"{_STORE}:REVOKED", old=" AND a.fence = v.token", new=""),),
)

ENDED_UNDER_OLD_TOKEN = Defect(
    name="ended-under-old-token",
    imitates="an end by a service that leaves the token of the holder in the row",
    breaks="the log of a task that a service ended has no entry of its end, or one of its holder's numbers",
    part="statement TERMINATED",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "no service ends its tasks, and it cancels few between claim and start",
        CHAOS: "no chaos run ends tasks by hand",
    },
    test="tests/conformance/test_store.py::test_what_never_ran_is_ended_under_the_given_token",
    edits=(Edit(where=f"{_STORE}:TERMINATED", old="fence = v.token, ", new=""),),
)

PROGRESS_WITHOUT_FENCE = Defect(
    name="progress-without-fence",
    imitates="INSERT INTO log ... WHERE the task runs, under any token",
    breaks="progress of a worker that lost its lease stands between the entries of the one that took over",
    part="statement PROGRESS",
    blind={
        ACTIVITY_MACHINE: "a late entry fits into the log, and it compares no text of entries",
        QUEUE_MACHINE: _NO_STORE,
        CHAOS: "a worker that resumes does not report under a lease that it knows to be lost",
    },
    test="tests/conformance/test_store.py::test_a_late_holder_is_refused_everything_once_another_has_started",
    edits=(Edit(where=f"{_STORE}:PROGRESS", old=" AND a.fence = v.token", new=""),),
)

NOTE_IN_HOLDERS_LOG = Defect(
    name="note-in-holders-log",
    imitates="one counter of log entries, which a service and the worker use at once",
    breaks="a note of a service takes the number of an entry that the worker writes",
    part="statement note",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "no service notes anything there",
        CHAOS: "no chaos run adds notes",
    },
    test="tests/unit/agentexec/activity/test_lifecycle.py::test_a_note_from_outside_takes_no_number_of_the_holder",
    edits=(
        Edit(
            where="agentexec.store.direct:note",
            old="WHERE activity_id {in_ids} AND fence = 0 GROUP BY",
            new="WHERE activity_id {in_ids} GROUP BY",
        ),
    ),
)

HAND_BACK_OF_LOST_CLAIM = Defect(
    name="hand-back-of-lost-claim",
    imitates="a NACK by the id of a task, not by that of its delivery",
    breaks="a worker of an older version that was slow takes the task from the one that runs it",
    part="script hand_back",
    blind={
        ACTIVITY_MACHINE: "all its workers know all tasks",
        CHAOS: "it takes a pool of another version that is slow",
    },
    test="tests/conformance/test_names.py::test_a_hand_back_that_is_sent_again_or_late_changes_nothing",
    rare="few hand-backs are late",
    edits=(
        Edit(where="lua/hand_back.lua", old="if holder(id) ~= token then", new="if not holder(id) then"),
        Edit(
            where=f"{_MEMORY}.hand_back",
            old="if not self._books.holds(task_id, token):",
            new="if task_id not in self._books.holder:",
        ),
    ),
)

REPLAY_UNNOTICED = Defect(
    name="replay-unnoticed",
    imitates="a claim without a name for the call: redis-py sends it again after a lost reply",
    breaks="tasks that a lost reply carried wait for the end of a lease, and are charged with a crash",
    part="script step",
    blind={CHAOS: "the lease ends, and the tasks run: they are late, not lost"},
    edits=(
        Edit(where="lua/step.lua", old="if previous == nonce then", new="if false then"),
        Edit(where=f"{_MEMORY}.step", old="if step is None or step.nonce != request.nonce:", new="if True:"),
    ),
)

GONE_WORKER_CLAIMS = Defect(
    name="gone-worker-claims",
    imitates="a list of dead workers that the registration reads, and the claim does not",
    breaks="the last call of a killed worker claims tasks that no process runs until its leases expire",
    part="script release",
    blind={
        ACTIVITY_MACHINE: "its dead workers send no step",
        CHAOS: "the lease ends, and the tasks run: they are late, not lost",
    },
    edits=(
        Edit(where="lua/release.lua", old="  redis.call('ZADD', GONE, now_ms(), worker)\n", new=""),
        Edit(where=f"{_MEMORY}.release", old="                books.gone[name] = now\n", new=""),
    ),
)

REGISTERED_AFTER_DEATH = Defect(
    name="registered-after-death",
    imitates="a heartbeat that is an upsert",
    breaks="the last heartbeat of a dead worker shows it as living for as long as a lease",
    part="script register",
    blind={
        ACTIVITY_MACHINE: _NO_WORKER,
        CHAOS: "it takes a heartbeat that arrives after its worker's death is known",
    },
    test="tests/conformance/test_queue_workers.py::test_a_worker_that_was_declared_dead_cannot_register",
    edits=(
        Edit(where="lua/register.lua", old="if redis.call('ZSCORE', GONE, worker) then return end\n", new=""),
        Edit(where=f"{_MEMORY}.register", old="if worker in books.gone:", new="if False:"),
    ),
)

STALE_CLAIM_ACKNOWLEDGED = Defect(
    name="stale-claim-acknowledged",
    imitates="a worker that acknowledges whatever the database does not let it start",
    breaks="a task whose token is too low, as the clock of the queue went back, is gone from the queue",
    part="hand-over claim to start",
    blind={
        ACTIVITY_MACHINE: "hardly any of its claims has a token that is too low",
        QUEUE_MACHINE: _NO_STORE,
        SIMULATION: "the comparison dispatches the task again: it is late, not lost",
        CHAOS: "the comparison dispatches the task again: it is late, not lost",
    },
    test="tests/conformance/test_recording.py::test_an_event_between_two_statements_leaves_an_answer_for_every_claim",
    edits=(
        Edit(
            where="agentexec.worker.recording:_explain",
            old="disposition, fence = Disposition.RETRY, standings[task_id].fence",
            new="disposition, fence = Disposition.ACK, standings[task_id].fence",
        ),
    ),
)

RESENT_END_REFUSED = Defect(
    name="resent-end-refused",
    imitates="an UPDATE whose count of rows decides, sent again after a lost reply",
    breaks="a retry whose commit got no reply is never sent to the queue, and waits for the end of its lease",
    part="hand-over record to finish",
    blind={QUEUE_MACHINE: _NO_STORE, CHAOS: "the lease ends, and the task runs again: it is late, not lost"},
    test="tests/conformance/test_store.py::test_an_outcome_sent_again_is_accepted_again_and_changes_nothing",
    rare="it takes the lost reply of a retry, and no other fault near it",
    edits=(
        Edit(
            where=f"{_STORE}:_written_before",
            old="WHERE a.status = v.status OR v.status = 'queued' AND a.status = 'canceled'",
            new="WHERE false",
        ),
    ),
)
