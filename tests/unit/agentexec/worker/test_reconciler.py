"""The reconciler brings back tasks that a queue lost, and rows whose holder is silent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from uuid import UUID

import fakeredis
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from agentexec.config import load_settings
from agentexec.core.identity import host_identity, process_identity
from agentexec.queue.protocol import Claim, Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import reading, statements
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.rows import ActivityUpdate
from agentexec.store.status import Status
from agentexec.task import Registry, encode_payload
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.reconciler import LOOK_BEHIND, REST, START, Reconciler, Rests
from tests.support.queue_contents import RedisInspector, set_policy
from tests.support.record import new_activity, require_sound, row_of, rows_of, starts

SETTINGS = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")


@pytest.fixture
def queue(redis: fakeredis.FakeRedis) -> RedisQueue:
    return RedisQueue(redis, "reconciled")


@pytest.fixture
def reconciler(engine: Engine, queue: RedisQueue) -> Reconciler:
    """A pool's reconciler after its first round: the queue has an epoch that can get lost."""
    reconciler = Reconciler(engine, queue, SETTINGS)
    reconciler.run_round(full_pass=False)
    return reconciler


def dispatched(engine: Engine, queue: RedisQueue, count: int) -> list[UUID]:
    """Tasks that were recorded and dispatched."""
    activities = [new_activity(queue.name) for _ in range(count)]
    with engine.begin() as connection:
        statements.record_enqueued(connection, activities)
        statements.mark_dispatched(connection, [a.id for a in activities])
    queue.enqueue(
        [
            Dispatch(task_id=a.id, payload=encode_payload(a.task_name, a.context), level=a.priority)
            for a in activities
        ]
    )
    return [a.id for a in activities]


def claimed(queue: RedisQueue, worker: str, want: int) -> list[Claim]:
    answer = queue.step(StepRequest(worker=worker, nonce=f"nonce of {worker}", want=want))
    return list(answer.claims)


def run(engine: Engine, claims: Sequence[Claim]) -> None:
    """Start and complete what was claimed."""
    with engine.begin() as connection:
        statements.record_batch(connection, starts({c.task_id: c.token for c in claims}), [])
        outcomes = [
            ActivityUpdate(id=c.task_id, token=c.token, n=1, status=Status.COMPLETE, message="Over.")
            for c in claims
        ]
        statements.record_batch(connection, [], outcomes)


@pytest.mark.invariant("I1")
def test_what_the_queue_forgot_is_brought_back_and_completes(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    tasks = dispatched(engine, queue, 5)
    (running,) = claimed(queue, "cut off", 1)
    with engine.begin() as connection:
        statements.record_batch(connection, starts({running.task_id: running.token}), [])
    queue.drop()
    reconciler.run_round(full_pass=False)
    again = claimed(queue, "heir", 9)
    assert sorted(c.task_id for c in again) == sorted(tasks)
    run(engine, again)
    for row in rows_of(engine, tasks).values():
        require_sound(row)
        assert row.status == "complete"


@pytest.mark.invariant("I1")
def test_what_another_server_lacks_is_brought_back_at_once(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """A replica took over, or the server started again without the end of its file."""
    lost, there = dispatched(engine, queue, 2)
    queue.client.hdel(queue.keys.job, str(lost))
    reconciler.run_round(full_pass=False)
    assert queue.known([lost, there]) == [False, True], "only a comparison would find it"
    RedisInspector(queue).change_server()
    reconciler.run_round(full_pass=False)
    assert queue.known([lost, there]) == [True, True]
    assert queue.epoch()


@pytest.mark.invariant("I1")
def test_what_the_queue_had_comes_back_although_new_tasks_took_its_room(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """The outbox does not offer it again. What a full queue had refused before waits for room as always."""
    had = dispatched(engine, queue, 3)
    waits = new_activity(queue.name)
    waits.id = UUID(int=waits.id.int - (60_000 << 80))  # a minute old: no note of a dispatch is on its way
    with engine.begin() as connection:
        statements.record_enqueued(connection, [waits])
    queue.drop()
    set_policy(queue, max_depth=2)
    new = dispatched(engine, queue, 2)
    reconciler.run_round(full_pass=False)
    assert queue.known([*had, *new]) == [True] * 5
    assert queue.known([waits.id]) == [False]


def test_one_slow_scan_is_no_reason_to_rest() -> None:
    """A frozen server makes a scan of any length, and the next comparison would come after twenty times that."""
    rests = Rests()
    assert [rests.after(seconds) for seconds in (5.0, 0.1, 0.2, 60.0, 0.1)] == pytest.approx(
        [0, 0.1 * REST, 0.1 * REST, 0.2 * REST, 0.1 * REST]
    )


@pytest.mark.invariant("I9")
def test_a_row_whose_lease_expired_is_queued_after_the_next_round(engine: Engine, queue: RedisQueue) -> None:
    (task,) = dispatched(engine, queue, 1)
    (silent,) = claimed(queue, "silent", 1)
    with engine.begin() as connection:
        statements.record_batch(connection, starts({task: silent.token}), [])
    RedisInspector(queue).expire(task)
    loop, registry = asyncio.new_event_loop(), Registry()
    neighbour = WorkerLoop(
        worker="n", queue=queue, engine=engine, settings=SETTINGS, registry=registry, event_loop=loop
    )
    neighbour.drain()  # it claims nothing, and revokes expired leases all the same
    neighbour.run()
    loop.close()
    row = row_of(engine, task)
    require_sound(row)
    assert (row.status, row.fence) == ("queued", silent.token)


@pytest.mark.invariant("I9")
def test_a_running_row_that_the_queue_dropped_runs_again_after_a_comparison(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """Its lease and its job are gone, as by eviction, while the queue still has its epoch."""
    (task,) = dispatched(engine, queue, 1)
    (silent,) = claimed(queue, "silent", 1)
    with engine.begin() as connection:
        statements.record_batch(connection, starts({task: silent.token}), [])
        make_old(connection)
    queue.client.hdel(queue.keys.job, str(task))
    queue.client.hdel(queue.keys.holder, str(task))
    queue.client.zrem(queue.keys.lease, str(task))
    reconciler.run_round(full_pass=True)
    (again,) = claimed(queue, "heir", 1)
    assert (again.task_id, again.token > silent.token) == (task, True)


@pytest.mark.invariant("I1")
@pytest.mark.parametrize("newer", [1, LOOK_BEHIND - 1])
def test_a_row_that_appears_behind_an_id_already_read_is_dispatched_in_the_next_round(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler, newer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction committed late, or the clock of its producer is late."""
    monkeypatch.setattr("agentexec.worker.reconciler.REST", 0)  # on a slow machine, too
    late, *others = [new_activity(queue.name) for _ in range(newer + 1)]
    with engine.begin() as connection:
        statements.record_enqueued(connection, others)
        statements.mark_dispatched(connection, [a.id for a in others])
        make_old(connection)
    reconciler.run_round(full_pass=False)
    with engine.begin() as connection:
        statements.record_enqueued(connection, [late])
        make_old(connection)
    reconciler.run_round(full_pass=False)
    assert queue.known([late.id]) == [True]
    assert row_of(engine, late.id).dispatched


def test_rows_of_another_queue_or_age_are_not_dispatched(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    young, other = new_activity(queue.name), new_activity("another")
    last = new_activity(queue.name)
    with engine.begin() as connection:
        statements.record_enqueued(connection, [last])
        make_old(connection)
    reconciler.run_round(full_pass=False)
    with engine.begin() as connection:
        statements.record_enqueued(connection, [other])
        make_old(connection)
        statements.record_enqueued(connection, [young])
    reconciler.run_round(full_pass=False)
    assert queue.known([last.id, young.id, other.id]) == [True, False, False]


def make_old(connection: Connection) -> None:
    long_ago = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-60 seconds')"
    connection.execute(text(f"UPDATE {ACTIVITY_TABLE} SET created_at = {long_ago}"))


@pytest.mark.invariant("I9")
def test_a_revocation_that_could_not_be_recorded_is_recorded_within_two_comparisons(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue revoked the lease, and the database failed at exactly that moment."""
    task, claim = old_run(engine, queue, "killed")
    release_without_record(reconciler, "killed", monkeypatch)
    reconciler.release_worker("killed", charge=True)  # tried again: the queue has nothing left
    assert row_of(engine, task).status == "running"
    for _ in range(2):
        reconciler.run_round(full_pass=True)
    row = row_of(engine, task)
    require_sound(row)
    assert (row.status, row.fence) == ("queued", claim.token)


@pytest.mark.invariant("I9")
def test_the_same_of_a_task_that_became_a_dead_letter(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.agree({"max_crashes": "0"})
    task, _claim = old_run(engine, queue, "killed")
    release_without_record(reconciler, "killed", monkeypatch)
    reconciler.run_round(full_pass=True)
    row = row_of(engine, task)
    require_sound(row)
    assert (row.status, row.error) == ("error", "its worker died 1 times while running it")


@pytest.mark.invariant("I9")
def test_a_lease_below_the_fence_of_its_row_is_revoked_after_two_comparisons(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """A failover gave it back after another run had begun: its worker renews it, and can record nothing."""
    task, claim = old_run(engine, queue, "given back")
    with engine.begin() as connection:
        statements.record_batch(connection, starts({task: claim.token + 1}), [])
        make_old(connection)
    reconciler.run_round(full_pass=True)
    assert queue.leases([task]) == {task: claim.token}, "the next comparison may find its end recorded"
    reconciler.run_round(full_pass=True)
    assert (row_of(engine, task).status, row_of(engine, task).fence) == ("queued", claim.token + 1)
    (again,) = claimed(queue, "next", 1)
    assert again.task_id == task


def test_comparisons_leave_a_row_alone_whose_holder_has_its_lease(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    task, _claim = old_run(engine, queue, "busy")
    for _ in range(3):
        reconciler.run_round(full_pass=True)
    assert row_of(engine, task).status == "running"


def test_after_a_loss_a_handler_may_complete_until_its_worker_notices(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """The rebuild and one comparison do not take its authority: that would run it twice for nothing."""
    task, claim = old_run(engine, queue, "busy")
    queue.drop()
    reconciler.run_round(full_pass=False)
    reconciler.run_round(full_pass=True)
    end = ActivityUpdate(id=task, token=claim.token, n=1, status=Status.COMPLETE, message="Over.")
    with engine.begin() as connection:
        assert statements.record_batch(connection, [], [end])[1] == {task: Status.COMPLETE}


def old_run(engine: Engine, queue: RedisQueue, worker: str) -> tuple[UUID, Claim]:
    """A task that runs on a worker, old enough for a comparison."""
    (task,) = dispatched(engine, queue, 1)
    (claim,) = claimed(queue, worker, 1)
    with engine.begin() as connection:
        statements.record_batch(connection, starts({task: claim.token}), [])
        make_old(connection)
    return task, claim


def release_without_record(reconciler: Reconciler, worker: str, patch: pytest.MonkeyPatch) -> None:
    """The queue revokes the leases of a worker, and the database fails at exactly that moment."""
    with patch.context() as broken:
        broken.setattr(statements, "record_revoked", refusing)
        with pytest.raises(OperationalError):
            reconciler.release_worker(worker, charge=True)


def refusing(*_: object) -> None:
    raise OperationalError("UPDATE", {}, Exception("the disk is full"))


@pytest.mark.invariant("I10")
@pytest.mark.parametrize("begun", [True, False])
def test_a_dead_worker_charges_a_task_that_did_not_begin_only_once_it_runs_alone(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler, begun: bool
) -> None:
    """Its payload may end the worker before its handler begins, so the number of its deliveries is bounded, too."""
    (task,) = dispatched(engine, queue, 1)
    crashes = []
    for death in range(4):
        (claim,) = claimed(queue, f"dead {death}", 1)
        if begun:
            with engine.begin() as connection:
                statements.record_batch(connection, starts({task: claim.token}), [])
        reconciler.release_worker(f"dead {death}", charge=True)
        crashes.append(RedisInspector(queue).read().crashes.get(str(task), 0))
        assert row_of(engine, task).status == "queued"
    assert crashes == ([1, 2, 3, 4] if begun else [0, 0, 1, 2])


def refuse_changes_of(engine: Engine, task: UUID) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TRIGGER refuse_{task.hex} BEFORE UPDATE ON {ACTIVITY_TABLE} WHEN OLD.id = '{task.hex}' "
                "BEGIN SELECT RAISE(ABORT, 'the database refuses this row'); END"
            )
        )


def revoke_all(queue: RedisQueue, reconciler: Reconciler, _: Sequence[UUID]) -> None:
    reconciler.release_worker("dead", charge=False)


def lose_all(queue: RedisQueue, reconciler: Reconciler, _: Sequence[UUID]) -> None:
    queue.release("dead", None)


def bury_all(queue: RedisQueue, reconciler: Reconciler, tasks: Sequence[UUID]) -> None:
    finishes = [
        Finish(task_id=i, token=token, disposition=Disposition.DEAD_LETTER, reason="no")
        for i, token in queue.leases(tasks).items()
    ]
    queue.step(StepRequest(worker="dead", nonce="the end", finishes=finishes))


@pytest.mark.parametrize(
    ("happens", "status"), [(revoke_all, "queued"), (lose_all, "queued"), (bury_all, "error")]
)
def test_a_row_that_the_database_refuses_does_not_keep_others_from_being_reconciled(
    engine: Engine,
    queue: RedisQueue,
    reconciler: Reconciler,
    caplog: pytest.LogCaptureFixture,
    happens: Callable[[RedisQueue, Reconciler, Sequence[UUID]], None],
    status: str,
) -> None:
    tasks = dispatched(engine, queue, 3)
    claims = claimed(queue, "dead", 3)
    with engine.begin() as connection:
        statements.record_batch(connection, starts({c.task_id: c.token for c in claims}), [])
        make_old(connection)
    refuse_changes_of(engine, tasks[1])
    happens(queue, reconciler, tasks)
    for _ in range(4):
        reconciler.run_round(full_pass=True)
    assert [row_of(engine, task).status for task in tasks] == [status, "running", status]
    assert sum(str(tasks[1]) in record.getMessage() for record in caplog.records) == 1


def test_a_row_that_the_database_refuses_holds_up_neither_cancels_nor_the_outbox(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    canceled = dispatched(engine, queue, 2)
    with engine.begin() as connection:
        statements.request_cancel(connection, canceled, "Canceled.")
        statements.record_enqueued(connection, [new_activity(queue.name) for _ in range(2)])
        make_old(connection)
        rows = reading.outbox(connection, queue.name, START, older_than=0, limit=9, behind=9)
    undispatched = [row.id for row in rows]
    refuse_changes_of(engine, canceled[0])
    refuse_changes_of(engine, undispatched[0])
    reconciler.run_round(full_pass=False)
    assert queue.known([*canceled, *undispatched]) == [False, False, True, True]
    with engine.begin() as connection:
        assert [row.id for row in reading.withdrawals(connection, queue.name, START, 9)] == [canceled[0]]
        rows = reading.outbox(connection, queue.name, START, older_than=0, limit=9, behind=9)
    assert {row.id: row.dispatched for row in rows} == {undispatched[0]: False, undispatched[1]: True}


def test_a_canceled_task_that_its_worker_hands_back_leaves_the_queue(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    """The cancel found a lease, and its worker does not know the task."""
    (task,) = dispatched(engine, queue, 1)
    (claim,) = claimed(queue, "old", 1)
    with engine.begin() as connection:
        statements.request_cancel(connection, [task], "Canceled.")
    reconciler.run_round(full_pass=False)
    queue.hand_back({task: (claim.token, "task", "")}, limit=60, delay=30)
    reconciler.run_round(full_pass=False)
    assert queue.known([task]) == [False]
    with engine.begin() as connection:
        assert reading.withdrawals(connection, queue.name, START, 9) == []


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(("released", "crashes"), [(True, 0), (False, 1)])
def test_the_pool_of_a_dead_worker_says_first_whether_it_crashed(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler, released: bool, crashes: int
) -> None:
    """Another pool of the host sees the same death, and does not know that it was the end of a drain."""
    (task,) = dispatched(engine, queue, 1)
    (claim,) = claimed(queue, "pool-0-1", 1)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        identity = f"{host_identity()}|{process.pid}|1"
    queue.register("pool-0-1", identity)
    queue.register("pool-1-2", process_identity())
    with engine.begin() as connection:
        statements.record_batch(connection, starts({task: claim.token}), [])
    reconciler.run_round(full_pass=False)
    if released:
        reconciler.release_worker("pool-0-1", charge=False)
    reconciler.run_round(full_pass=False)
    assert RedisInspector(queue).read().crashes == ({str(task): 1} if crashes else {})
    assert row_of(engine, task).status == "queued"


def test_the_workers_of_a_pool_that_is_gone_are_released_at_once(
    engine: Engine, queue: RedisQueue, reconciler: Reconciler
) -> None:
    tasks = dispatched(engine, queue, 2)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        identity = f"{host_identity()}|{process.pid}|1"
    for number in range(2):
        claimed(queue, f"gone-{number}-{number}", 1)
        queue.register(f"gone-{number}-{number}", identity)
    queue.register("other-0-1", process_identity())
    reconciler.run_round(full_pass=False)
    assert queue.leases(tasks) == {}
