"""Defects of the rebuild: what a queue that lost its contents gets back, and when."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_MEMORY = "harness.simulation.queue.memory_queue:MemoryQueue"
_STORE = "agentexec.store.statements"
_LATER = "CASE WHEN v.delay > 0 THEN {later} END"
_LOCK_KEYS = "tests/conformance/test_lock_keys.py"
_NO_STORE = "it has no activity store"
_GIVEN_BACK = "tests/conformance/test_store.py::test_what_is_pending_is_given_back_as_it_was_enqueued"
_NO_DELAYS, _NO_DELAYED_RUN = "it delays no task", "only `vary-tasks` delays tasks"

DUE_TIME_NOT_RECORDED = Defect(
    name="due-time-not-recorded",
    imitates="a delay that is sent to the queue and not recorded",
    breaks="a delayed task runs at once after Redis was away or lost its contents",
    part="statement ENQUEUED",
    blind={QUEUE_MACHINE: _NO_STORE, ACTIVITY_MACHINE: _NO_DELAYS, CHAOS: _NO_DELAYED_RUN},
    test=_GIVEN_BACK,
    edits=(
        Edit(where=f"{_STORE}:ENQUEUED", old=_LATER, new="NULL"),
        Edit(where=f"{_STORE}:ENQUEUED_NEW", old=_LATER, new="NULL"),
    ),
)

REBUILT_WITHOUT_DELAY = Defect(
    name="rebuilt-without-delay",
    imitates="a dispatch of what the queue does not have, by the fields that the dispatcher happens to read",
    breaks="a delayed task runs at once after Redis lost its contents",
    part="hand-over record to queue",
    blind={QUEUE_MACHINE: _NO_STORE, ACTIVITY_MACHINE: _NO_DELAYS, CHAOS: _NO_DELAYED_RUN},
    test=_GIVEN_BACK,
    edits=(Edit(where="agentexec.store.reading:pending", old="{seconds_left} AS delay", new="0 AS delay"),),
)

REBUILT_WITHOUT_LOCK = Defect(
    name="rebuilt-without-lock",
    imitates="a dispatch of what the queue does not have, by the fields that the dispatcher happens to read",
    breaks="two tasks with one lock key run at the same time after Redis lost its contents",
    part="hand-over record to queue",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "its tasks have no lock keys",
        CHAOS: "no chaos run flushes Redis under enough waiting tasks of one lock key",
    },
    test=_GIVEN_BACK,
    edits=(
        Edit(
            where="agentexec.store.reading:pending",
            old="priority, lock_key,",
            new="priority, NULL AS lock_key,",
        ),
    ),
)

FAILOVER_UNNOTICED = Defect(
    name="failover-unnoticed",
    imitates="a loss of contents that is known by an empty queue only; a replica lacks the last second",
    breaks="tasks that were enqueued before a failover start half a minute late",
    part="script rebuild",
    blind={
        ACTIVITY_MACHINE: "its Redis fails over to none",
        CHAOS: "the comparison dispatches these tasks too: they are late, not lost",
    },
    test="tests/unit/agentexec/worker/test_reconciler.py::test_what_another_server_lacks_is_brought_back_at_once",
    rare="only the theme `frozen` has a bound for it",
    edits=(
        Edit(
            where="lua/rebuild.lua",
            old="if redis.call('HGET', CFG, 'server') ~= server then",
            new="if false then",
        ),
        Edit(where=f"{_MEMORY}.begin_rebuild", old="if books.server != self._server:", new="if False:"),
    ),
)

LATE_END_OF_REBUILD = Defect(
    name="late-end-of-rebuild",
    imitates="a reindex that is done once some attempt says so, whichever attempt that is",
    breaks="the late end of a rebuild ends the present one: new tasks with lock keys pass those that run",
    part="script rebuild",
    blind={
        ACTIVITY_MACHINE: "no message of its reconciler is late",
        CHAOS: "it takes a late message of a pool, and a loss of contents just before it arrives",
    },
    test="tests/conformance/test_queue.py::test_the_loss_of_the_contents_is_noticed_once",
    rare="it takes a loss of contents during a rebuild, and an end that is late or of another pool",
    edits=(
        Edit(
            where="lua/rebuild.lua",
            old="if redis.call('HGET', CFG, 'rebuilding') == ARGV[2] then",
            new="if redis.call('HEXISTS', CFG, 'rebuilding') == 1 then",
        ),
        Edit(
            where=f"{_MEMORY}.end_rebuild",
            old="if self._books.rebuilding == name:",
            new="if self._books.rebuilding is not None:",
        ),
    ),
)

LOCKED_BEFORE_REBUILD = Defect(
    name="locked-before-rebuild",
    imitates="a queue that takes everything again as soon as it is up",
    breaks="a new task gets the lock of one that runs, as an emptied queue does not know it",
    part="script enqueue",
    blind={
        QUEUE_MACHINE: "hardly any of its producers sends a lock key to a queue without an epoch",
        ACTIVITY_MACHINE: "its tasks have no lock keys",
        CHAOS: "the start is refused by the record, which knows the running task",
    },
    test=f"{_LOCK_KEYS}::test_after_loss_of_memory_only_the_reconciler_restores_tasks_with_lock_keys",
    rare="the record refuses the second start",
    edits=(
        Edit(
            where="lua/enqueue.lua",
            old="elseif partition ~= '' and not rebuilt and not from_reconciler then",
            new="elseif false then",
        ),
        Edit(
            where=f"{_MEMORY}.enqueue",
            old="elif task.lock_key is not None and not takes_locks:",
            new="elif False:",
        ),
    ),
)

LATE_LOCK_BEFORE_REBUILD = Defect(
    name="late-lock-before-rebuild",
    imitates="a lock that is taken if nothing is known of another holder",
    breaks="a task whose worker finds its lock key gets the lock of one that runs, as the queue was emptied",
    part="script partition",
    blind={
        ACTIVITY_MACHINE: "its tasks have no lock keys",
        CHAOS: "the start is refused by the record, which knows the running task",
    },
    test=f"{_LOCK_KEYS}::test_after_loss_of_memory_a_claim_whose_worker_finds_a_lock_key_is_void",
    rare="the record refuses the second start",
    edits=(
        Edit(where="lua/partition.lua", old="elseif not rebuilt then", new="elseif false then"),
        Edit(where=f"{_MEMORY}.lock", old="if books.epoch is None:", new="if False:"),
    ),
)
