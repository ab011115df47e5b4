"""The invariants of the queue, and for each of them edits that break it with the test that must fail.

`tests/unit/agentexec/queue/test_invariants.py` makes each change to a copy of the package and runs that test on it.
docs/reference/invariants.md is this list as a table.
"""

from __future__ import annotations

from dataclasses import dataclass

INVARIANTS = {
    "I1": "Every committed enqueue reaches exactly one terminal status, or sits visibly in queue or dead letters, "
    "even after FLUSHALL.",
    "I2": "What the queue knows is the disjoint union of ready, scheduled, leased, parked and dead; leases and holders "
    "are the same tasks.",
    "I3": "Tokens rise strictly for each activity, also across the loss of Redis.",
    "I4": "A lost token never regains authority: finish, renewal, log and terminal writes all refuse it.",
    "I5": "Only legal transitions happen.",
    "I6": "Races of completing and canceling have one winner; a terminal activity never starts.",
    "I7": "Sending an enqueue, a step, a renewal or a write of the log again changes nothing.",
    "I8": "The log of an activity under one token counts from 0 without a gap; its last entry and the status commit "
    "together.",
    "I9": "No row says RUNNING long after its lease ended.",
    "I10": "A task that its workers die of is delivered at most `max_crashes` + 3 times; a task beside it, and a "
    "graceful release, are charged nothing.",
    "I11": "One live token for each lock key, from the first delivery on.",
}

QUEUE, LOCKS = "tests/conformance/test_queue.py", "tests/conformance/test_lock_keys.py"
SUSPECTS = "tests/conformance/test_suspects.py"
DETAILS = "tests/conformance/test_queue_details.py"
STORE, RECONCILER = "tests/conformance/test_store.py", "tests/unit/agentexec/worker/test_reconciler.py"
LOOP = "tests/unit/agentexec/worker/test_loop.py"


@dataclass(frozen=True, kw_only=True)
class Break:
    """One change: the first `old` after `after` in a file of agentexec becomes `new`, and `test` has to fail."""

    what: str
    file: str
    old: str
    new: str
    test: str
    after: str = ""
    invariant: str = ""


def _script(invariant: str, what: str, file: str, old: str, new: str, test: str, tests: str = QUEUE) -> Break:
    return Break(
        invariant=invariant,
        what=what,
        file=f"queue/lua/{file}.lua",
        old=old,
        new=new,
        test=f"{tests}::{test}[fakeredis]",
    )


def _statement(invariant: str, what: str, name: str, old: str, new: str, test: str) -> Break:
    return Break(
        invariant=invariant,
        what=what,
        file="store/statements.py",
        after=f"\n{name} = ",
        old=old,
        new=new,
        test=f"{STORE}::{test}",
    )


BREAKS = (
    Break(
        invariant="I1",
        what="A rebuild restores running tasks and leaves out queued ones.",
        file="worker/reconciler.py",
        old="((Status.RUNNING,), PENDING)",
        new="((Status.RUNNING,),)",
        test=f"{RECONCILER}::test_what_the_queue_forgot_is_brought_back_and_completes",
    ),
    _script(
        "I2",
        "A holder loses its token and keeps its lease.",
        "step",
        "send('ZREM', LEASE, ended)\n",
        "",
        "test_a_retry_is_claimed_again_after_its_delay_under_a_higher_token",
    ),
    _script(
        "I3",
        "Tokens are counted from the last token in Redis alone.",
        "step",
        "math.max(tonumber(redis.call('GET', FENCE) or '0') + 1, now, lowest)",
        "tonumber(redis.call('GET', FENCE) or '0') + 1",
        "test_tokens_rise_also_after_the_queue_forgot_everything",
    ),
    _statement(
        "I3",
        "A start is accepted under any token.",
        "STARTED",
        "AND (a.fence < v.token OR a.status {running} AND a.fence = v.token AND a.holder = v.worker)",
        "",
        "test_a_start_under_a_lower_token_is_refused[sqlite]",
    ),
    _script(
        "I4",
        "A finish checks that the task has a lease, not whose it is.",
        "step",
        "  if held ~= token then\n    finishes",
        "  if not held then\n    finishes",
        "test_a_finish_with_a_lost_token_is_refused_and_changes_nothing",
    ),
    _script(
        "I4",
        "A renewal takes a lost lease back.",
        "renew",
        "if gone or holder(id) ~= token then",
        "if gone then",
        "test_a_renewal_never_steals_a_lease_back",
    ),
    _script(
        "I4",
        "A repeated reply contains claims that were revoked.",
        "step",
        "reply(still_held(claims), ",
        "reply(claims, ",
        "test_a_replay_leaves_out_claims_that_another_worker_has_now",
        DETAILS,
    ),
    _statement(
        "I4",
        "An update is written under any token.",
        "FINISHED",
        " AND a.fence = v.token",
        "",
        "test_a_late_holder_is_refused_everything_once_another_has_started[sqlite]",
    ),
    _statement(
        "I4",
        "Progress is written under any token.",
        "PROGRESS",
        " AND a.fence = v.token",
        "",
        "test_a_late_holder_is_refused_everything_once_another_has_started[sqlite]",
    ),
    _statement(
        "I5",
        "A start checks the token alone, so a terminal activity runs again.",
        "STARTED",
        "AND a.status {sources} ",
        "",
        "test_a_terminal_activity_absorbs_everything[sqlite-complete]",
    ),
    _statement(
        "I6",
        "The update of a holder is accepted after its task was canceled.",
        "FINISHED",
        " AND a.status {sources}",
        "",
        "test_a_late_update_is_refused_after_record_revoked_ended_the_task[sqlite]",
    ),
    _statement(
        "I6",
        "A start ignores a cancel request.",
        "STARTED",
        " AND a.cancel_requested_at IS NULL",
        "",
        "test_a_running_task_is_flagged_and_not_started_again[sqlite]",
    ),
    _script(
        "I7",
        "A step does not compare the nonce with the previous one.",
        "step",
        "if previous == nonce then",
        "if false then",
        "test_a_step_sent_again_gives_the_same_reply_and_changes_nothing",
    ),
    _script(
        "I7",
        "An enqueue does not check whether the task is known.",
        "enqueue",
        "if known[id] then",
        "if false then",
        "test_enqueuing_a_known_task_again_changes_nothing",
    ),
    _statement(
        "I7",
        "A progress entry that exists already is an error.",
        "PROGRESS",
        "WHERE true {share_lock} ON CONFLICT DO NOTHING",
        "WHERE true {share_lock}",
        "test_progress_is_kept_in_order_and_written_once[sqlite]",
    ),
    Break(
        invariant="I8",
        what="The entry of a revoked lease leaves out a number.",
        file="store/dialects.py",
        old="coalesce(max(n), -1) + 1",
        new="coalesce(max(n), -1) + 2",
        test=f"{STORE}::test_record_revoked_takes_the_next_free_number[sqlite]",
    ),
    Break(
        invariant="I8",
        what="The status is committed before its log entry.",
        file="store/changes.py",
        old="    ids = {getattr(row.id, ",
        new="    connection.commit()\n    ids = {getattr(row.id, ",
        test=f"{STORE}::test_the_last_entry_and_the_status_are_durable_together[sqlite]",
    ),
    Break(
        invariant="I8",
        what="A holder reports progress after its final entry.",
        file="worker/leases.py",
        old=" or not lease.open:",
        new=":",
        test=f"{LOOP}::test_what_is_reported_after_the_end_of_a_run_is_left_out",
    ),
    Break(
        invariant="I9",
        what="A worker that revokes an expired lease does not record it.",
        file="worker/loop.py",
        old="if any(answer.expired):",
        new="if False:",
        test=f"{RECONCILER}::test_a_row_whose_lease_expired_is_queued_after_the_next_round",
    ),
    Break(
        invariant="I9",
        what="The comparison leaves out RUNNING rows.",
        file="worker/reconciler.py",
        old="statuses: Collection[Status] = PENDING, *,",
        new="statuses: Collection[Status] = (Status.QUEUED,), *,",
        test=f"{RECONCILER}::test_a_running_row_that_the_queue_dropped_runs_again_after_a_comparison",
    ),
    _script(
        "I10",
        "Crashes are counted, and the count is never checked.",
        "common",
        "if crashes > max_crashes then",
        "if false then",
        "test_a_task_whose_workers_keep_dying_goes_to_the_dead_letters_with_a_reason",
    ),
    _script(
        "I10",
        "Every release counts as a crash.",
        "common",
        "  if charge and shared ~= token then",
        "  if shared ~= token then",
        "test_releases_count_as_crashes_only_when_they_are_charged",
    ),
    _script(
        "I10",
        "The death of a worker is charged to every task that it had.",
        "common",
        "  if begun and not several then return end",
        "  if true then return end",
        "test_a_death_with_several_tasks_charges_none_and_the_second_one_separates_them",
        SUSPECTS,
    ),
    _script(
        "I10",
        "Each pool applies its own limit of crashes.",
        "common",
        "  return tonumber(redis.call('HGET', CFG, 'set:' .. name) or own)",
        "  return tonumber(own)",
        "test_the_agreed_number_of_crashes_holds_for_pools_that_are_set_otherwise",
    ),
    _script(
        "I11",
        "Nothing waits for the task that has its lock key.",
        "common",
        "if head and head ~= id and",
        "if false and",
        "test_one_task_of_a_lock_key_is_claimed_at_a_time_in_the_order_of_enqueuing",
        LOCKS,
    ),
    _script(
        "I11",
        "A lock key that the producer did not know is ignored at the first delivery.",
        "partition",
        "if occupy(id, redis.call('HGET', PART, id)) then",
        "if true then",
        "test_claims_whose_producer_knew_no_lock_key_get_theirs_before_they_run",
        LOCKS,
    ),
)
