"""Defects of canceling: what a cancel that was accepted leaves undone."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, Defect
from tests.planted.edits import Edit

_STORE = "agentexec.store.statements"
_CANCELING = "tests/unit/agentexec/producer/test_canceling.py"
_NO_STORE = "it has no activity store"

CANCELED_STARTS_AGAIN = Defect(
    name="canceled-starts-again",
    imitates="a start that compares status and token only, as the flag of a cancel came later",
    breaks="a task whose worker died after the cancel runs once more",
    part="statement STARTED",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "hardly any revocation of its canceled tasks is left unrecorded",
        CHAOS: "no chaos run kills the worker of a canceled task",
    },
    test="tests/conformance/test_store.py::test_a_running_task_is_flagged_and_not_started_again",
    edits=(Edit(where=f"{_STORE}:STARTED", old=" AND a.cancel_requested_at IS NULL", new=""),),
)

CANCEL_LOST_ON_RETRY = Defect(
    name="cancel-lost-on-retry",
    imitates="a retry that writes QUEUED without a look at the flag of a cancel",
    breaks="a canceled task waits for its retry, and is shown as queued meanwhile",
    part="statement FINISHED",
    blind={QUEUE_MACHINE: _NO_STORE, CHAOS: "the next start finds the flag, so it is late, not lost"},
    test="tests/conformance/test_store.py::test_retrying_and_canceling_at_once_never_leaves_the_task_queued",
    rare="it takes a handler that fails between the request and its stop",
    edits=(
        Edit(
            where=f"{_STORE}:FINISHED",
            old="""status = CASE WHEN v.status = 'queued' AND a.cancel_requested_at IS NOT NULL
                THEN 'canceled' ELSE v.status END""",
            new="status = v.status",
        ),
    ),
)

WITHDRAWAL_NOT_NOTED = Defect(
    name="withdrawal-not-noted",
    imitates="a cancel whose message to the workers is sent once, after the commit, and kept nowhere",
    breaks="a running task goes on after its cancel was accepted, as Redis was away at that moment",
    part="statement CANCEL_REQUESTED",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "its Redis is never away",
        CHAOS: "no chaos run cancels while Redis is away",
    },
    test=f"{_CANCELING}::test_a_running_task_that_was_canceled_while_redis_was_away_is_stopped_later",
    rare="it takes a cancel of a running task while Redis is away",
    edits=(
        Edit(
            where=f"{_STORE}:CANCEL_REQUESTED",
            old="            withdraw_since = CASE WHEN queue_name <> '' THEN {now} END,\n",
            new="",
        ),
    ),
)

WITHDRAWAL_DONE_WHEN_SENT = Defect(
    name="withdrawal-done-when-sent",
    imitates="a message that is done once the broker has it, and the broker may forget it",
    breaks="a running task goes on after its cancel was accepted, as Redis lost its contents",
    part="statement WITHDRAWN",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "its workers do not act on a cancel",
        CHAOS: "no chaos run flushes Redis while canceled tasks run",
    },
    test=f"{_CANCELING}::test_a_request_that_redis_forgot_is_made_again",
    rare="a loss of contents costs the lease, too",
    edits=(
        Edit(
            where="agentexec.worker.reconciler:Reconciler._withdraw",
            old="over = [row for row in page if row.status.terminal]",
            new="over = list(page)",
        ),
    ),
)

WITHDRAWAL_DROPPED_ON_ERROR = Defect(
    name="withdrawal-dropped-on-error",
    imitates="an outbox that drops what it could not send, so that the next messages do not wait for it",
    breaks="a running task goes on after its cancel was accepted, as the client and then a pool did not reach Redis",
    part="statement WITHDRAWN",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "its Redis is never away",
        CHAOS: "no chaos run loses a request of the client and then one of the pool",
    },
    test=f"{_CANCELING}::test_a_request_of_a_pool_that_redis_did_not_take_is_made_again",
    rare="it takes a lost request of the client, and then a lost one of the pool",
    edits=(
        Edit(
            where="agentexec.worker.reconciler:Reconciler._withdraw",
            old="        leased = dict(zip(ids, self._queue.request_cancel(ids), strict=True))\n",
            new="""        try:
            answers = self._queue.request_cancel(ids)
        except Exception:
            self._retrying.record(page, statements.unmark_withdrawals, lambda row, reason: None)
            raise
        leased = dict(zip(ids, answers, strict=True))
""",
        ),
    ),
)

ENDED_NOT_WITHDRAWN = Defect(
    name="ended-not-withdrawn",
    imitates="an end by hand that changes the record only",
    breaks="the handler of a task that a service ended runs on",
    part="statement WITHDRAW",
    blind={
        QUEUE_MACHINE: _NO_STORE,
        ACTIVITY_MACHINE: "no service ends its tasks",
        CHAOS: "no chaos run ends tasks by hand",
    },
    test="tests/conformance/test_store_marks.py::test_an_activity_that_others_end_is_a_withdrawal",
    rare="no checker asks when a handler stops that a service ended",
    edits=(
        Edit(
            where="agentexec.store.direct:end",
            old="        statements.mark_withdrawals(connection, [activity.id])\n",
            new="",
        ),
    ),
)

CANCELED_KEEPS_LOCK = Defect(
    name="canceled-keeps-lock",
    imitates="a task that is deleted from its list, and the next one of its group is never told",
    breaks="all tasks of a lock key wait for ever behind one that was canceled",
    part="script cancel",
    blind={
        QUEUE_MACHINE: "hardly any of its cancels is of the head of a lock key that waits",
        ACTIVITY_MACHINE: "its tasks have no lock keys",
        CHAOS: "no chaos run cancels tasks with lock keys",
    },
    test="tests/conformance/test_lock_keys.py::test_a_task_that_is_canceled_while_it_waits_hands_the_lock_to_the_next",
    rare="it takes a canceled head of a lock key without a later task of the key",
    edits=(
        Edit(where="lua/cancel.lua", old="  leave_partition(id)\n", new="  redis.call('HDEL', PART, id)\n"),
        Edit(
            where="harness.simulation.queue.books:Books.forget",
            old="        self.remove(task_id, now)\n",
            new="        self.part.pop(task_id, None)\n        self.remove(task_id, now)\n",
        ),
    ),
)
