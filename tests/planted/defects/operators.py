"""Defects of what pools agree on, and of what operators see and do. The simulation does none of it."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.edits import Edit

_MEMORY = "harness.simulation.queue.memory_queue:MemoryQueue"
_QUEUE_TESTS = "tests/conformance/test_queue_workers.py"
_AGREEMENT = "tests/unit/agentexec/worker/test_agreement.py"
_LETTERS = "tests/unit/agentexec/producer/test_dead_letters.py"
_NOT_DONE = "it does not do that"


def _blind(*means: str) -> dict[str, str]:
    return {one: "no scenario does that" if one == CHAOS else _NOT_DONE for one in means}


_ALL = (QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION, CHAOS)

FIRST_SETTINGS_STAY = Defect(
    name="first-settings-stay",
    imitates="shared settings that are written with HSETNX",
    breaks="a changed AGENTEXEC_MAX_CRASHES has no effect until Redis is emptied",
    part="script agree",
    blind=_blind(*_ALL),
    test=f"{_AGREEMENT}::test_a_pool_that_is_set_otherwise_warns_and_names_every_difference",
    edits=(
        Edit(
            where="lua/agree.lua",
            old="redis.call('HSET', CFG, field, ARGV[i + 1])",
            new="redis.call('HSETNX', CFG, field, ARGV[i + 1])",
        ),
        Edit(where=f"{_MEMORY}.agree", old="{**before, **values}", new="{**values, **before}"),
    ),
)

ANNOUNCED_ONCE = Defect(
    name="announced-once",
    imitates="a registry with the time of the first entry, not of the last",
    breaks="tasks that only the older version of a rolling deployment knows become dead letters while it lives",
    part="script announce",
    blind={
        ACTIVITY_MACHINE: "all its workers know all tasks",
        SIMULATION: "its runs are shorter than the time after which a name counts as gone",
        CHAOS: "its runs are shorter than the time after which a name counts as gone",
    },
    test="tests/conformance/test_names.py::test_the_limit_counts_from_the_moment_at_which_a_pool_last_knew_the_name",
    edits=(
        Edit(
            where="lua/announce.lua",
            old="redis.call('HSET', NAMES, ARGV[i], digits(ms))",
            new="redis.call('HSETNX', NAMES, ARGV[i], digits(ms))",
        ),
        Edit(
            where=f"{_MEMORY}.announce",
            old="books.names | dict.fromkeys(entries, now)",
            new="dict.fromkeys(entries, now) | books.names",
        ),
    ),
)

STORE_TAKEN_OVER = Defect(
    name="store-taken-over",
    imitates="a queue that is known by its name only, which two installations share",
    breaks="a pool of another installation makes dead letters of all tasks",
    part="script adopt",
    blind=_blind(*_ALL),
    test=f"{_QUEUE_TESTS}::test_a_queue_in_use_serves_one_store",
    edits=(
        Edit(
            where="lua/adopt.lua",
            old="  if tasks > 0 or living_workers() > 0 then return served end\n",
            new="",
        ),
        Edit(where=f"{_MEMORY}.adopt", old="if in_use and books.store", new="if False and books.store"),
    ),
)

PURGE_OF_LIVE_TASK = Defect(
    name="purge-of-live-task",
    imitates="a purge by id that trusts the list of the operator, who read it a minute ago",
    breaks="a task that was queued again meanwhile is gone from the queue",
    part="script purge",
    blind=_blind(*_ALL),
    test=f"{_LETTERS}::test_a_task_that_is_no_dead_letter_any_longer_is_not_purged",
    edits=(
        Edit(
            where="lua/purge.lua",
            old="redis.call('ZREM', DLQ, ARGV[i]) == 1",
            new="redis.call('ZREM', DLQ, ARGV[i]) >= 0",
        ),
    ),
)

DEPTH_WITHOUT_ALONE = Defect(
    name="depth-without-alone",
    imitates="a metric that a later kind of list was not added to",
    breaks="the autoscaler ends the last pool while tasks wait to run alone",
    part="script depth",
    blind={
        ACTIVITY_MACHINE: "it does not ask for the depth of each state",
        SIMULATION: "nothing in it reads how many tasks are ready",
        CHAOS: "nothing in it reads how many tasks are ready",
    },
    edits=(
        Edit(where="lua/depth.lua", old="local ready = redis.call('ZCARD', ALONE)", new="local ready = 0"),
        Edit(where=f"{_MEMORY}.depth", old="books.ready_left() + len(books.alone)", new="books.ready_left()"),
    ),
)

BACK_AT_ANY_PRIORITY = Defect(
    name="back-at-any-priority",
    imitates="a claim that is pushed back into the first list, as the message does not have its priority",
    breaks="LOW tasks of a killed worker go before all HIGH ones",
    part="script release",
    blind={
        ACTIVITY_MACHINE: "it claims whatever is ready, in any order",
        CHAOS: "no chaos run kills workers of tasks of two priorities",
    },
    test="tests/conformance/test_queue.py::test_a_task_that_goes_back_keeps_its_priority",
    edits=(
        Edit(
            where="lua/common.lua",
            old="to_front and 'LPUSH' or 'RPUSH', ready_list(",
            new="to_front and 'LPUSH' or 'RPUSH', to_front and KEYS[FIRST_READY] or ready_list(",
        ),
        Edit(
            where="harness.simulation.queue.books:Books.admit",
            old="        level = self.job[task_id].level\n",
            new="        level = 0 if to_front else self.job[task_id].level\n",
        ),
    ),
)

LETTER_NOT_MARKED = Defect(
    name="letter-not-marked",
    imitates="dead letters in the broker only",
    breaks="the dead letters of killed workers are gone after a loss of Redis, and an operator sees none",
    part="statement DEAD_LETTERED",
    blind={QUEUE_MACHINE: "it has no activity store"} | _blind(ACTIVITY_MACHINE, CHAOS),
    test="tests/conformance/test_store_marks.py::test_a_dead_letter_is_marked_with_its_error",
    rare="it takes two crashes and an outage",
    edits=(
        Edit(
            where="agentexec.store.statements:DEAD_LETTERED",
            old="dead_lettered_at = {now}",
            new="dead_lettered_at = NULL",
        ),
    ),
)

LETTER_OF_ANY_QUEUE = Defect(
    name="letter-of-any-queue",
    imitates="an UPDATE by id alone, in a table that several queues share",
    breaks="a purge in one queue takes dead letters of another one out of the record",
    part="statement SETTLED",
    blind=_blind(*_ALL),
    test=f"{_LETTERS}::test_the_letters_of_other_queues_are_not_purged",
    edits=(Edit(where="agentexec.store.dead_letters:SETTLED", old=" AND queue_name = :queue", new=""),),
)

KEY_OF_ANY_QUEUE = Defect(
    name="key-of-any-queue",
    imitates="an idempotency key that is compared with the name of the task, and not with the queue",
    breaks="a task of one queue is answered with that of another queue, and never runs where it was sent",
    part="hand-over producer to record",
    blind=_blind(*_ALL),
    test="tests/conformance/test_store.py::test_one_idempotency_key_is_of_one_task_name_and_queue",
    edits=(
        Edit(
            where="agentexec.store.statements:_recorded_before",
            old="(row.task_name, row.queue_name) == (row.known_name, row.known_queue)",
            new="row.task_name == row.known_name",
        ),
    ),
)
