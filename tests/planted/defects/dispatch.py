"""Defects between the record and the queue: what is dispatched, when, and what is noted of it."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_ENQUEUER = "agentexec.producer.enqueuer:Enqueuer"
_NO_PRODUCER = "it has no producer"
_OWN_PRODUCER = "it simulates the producers itself"

MARKED_WITHOUT_ROOM = Defect(
    name="marked-without-room",
    imitates="a dispatcher that notes what it sent, and not what was taken",
    breaks="a task that a full queue refused starts half a minute after there is room",
    part="statement DISPATCHED",
    blind={
        QUEUE_MACHINE: _NO_PRODUCER,
        ACTIVITY_MACHINE: _OWN_PRODUCER,
        CHAOS: "the comparison dispatches these tasks too: they are late, not lost",
    },
    edits=(
        Edit(
            where=f"{_ENQUEUER}._dispatch",
            old="self._marker.add([t.task_id for t, a in zip(tasks, answers, strict=True) if a is Admission.TAKEN])",
            new="self._marker.add([t.task_id for t in tasks])",
        ),
    ),
)

RESEND_DISPATCHED_ANEW = Defect(
    name="resend-dispatched-anew",
    imitates="a dispatch of what was sent in, not of what was recorded",
    breaks="an enqueue that is sent again leaves a dead letter for an activity that does not exist",
    part="hand-over producer to record",
    blind={
        QUEUE_MACHINE: _NO_PRODUCER,
        ACTIVITY_MACHINE: _OWN_PRODUCER,
        CHAOS: "only `vary-tasks` submits tasks twice",
    },
    edits=(
        Edit(
            where=f"{_ENQUEUER}._serve",
            old="fresh = [entry for entry in entries if recorded[entry.activity.id] == entry.activity.id]",
            new="fresh = entries",
        ),
    ),
)

DISPATCHED_BEFORE_COMMIT = Defect(
    name="dispatched-before-commit",
    imitates="push first and commit then, as every service does that enqueues inside of its own transaction",
    breaks="a worker gets a task that is not recorded yet, and makes a dead letter of it",
    part="hand-over record to queue",
    blind={
        CHAOS: "tried by a scenario of a release only, see below",
        QUEUE_MACHINE: _NO_PRODUCER,
        ACTIVITY_MACHINE: _OWN_PRODUCER,
    },
    scenario="failing-tasks",
    edits=(
        Edit(
            where=f"{_ENQUEUER}._handle",
            old="                self._serve(part, self._record(part))\n",
            new="""                self._dispatch([entry for group in part for entry in group.entries])
                self._serve(part, self._record(part))
""",
        ),
    ),
)

DEAD_LETTERS_TAKE_ROOM = Defect(
    name="dead-letters-take-room",
    imitates="a limit of the depth that counts all keys of the queue",
    breaks="a queue whose room is full of dead letters takes nothing any more",
    part="script enqueue",
    blind={
        QUEUE_MACHINE: "hardly any of its queues is full beside dead letters",
        ACTIVITY_MACHINE: "its queue has no limit",
        CHAOS: "no chaos run limits the depth of the queue",
    },
    test="tests/conformance/test_queue.py::test_dead_letters_take_no_room_under_the_depth_cap",
    rare="it takes as many dead letters as the queue has room",
    edits=(
        Edit(
            where="lua/enqueue.lua",
            old="local depth = cap > 0 and redis.call('HLEN', JOB) - redis.call('ZCARD', DLQ) or 0",
            new="local depth = cap > 0 and redis.call('HLEN', JOB) or 0",
        ),
        Edit(
            where="harness.simulation.queue.memory_queue:MemoryQueue.enqueue",
            old="len(books.job) - len(books.dlq)",
            new="len(books.job)",
        ),
    ),
)
