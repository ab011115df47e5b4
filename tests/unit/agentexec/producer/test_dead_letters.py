"""Dead letters can be listed, looked into, run again as new activities, and thrown away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity, Status
from agentexec.producer.requeue import requeue
from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.store import statements
from agentexec.worker.reconciler import Reconciler
from tests.support.activity_support import Message, claim, finish, status_of
from tests.support.record import require_sound, row_of


@pytest.fixture
def letters(client: ax.Client) -> DeadLetters:
    return DeadLetters(client.queue, client.engine)


def bury(client: ax.Client, text: str = "hello", reason: str = "ValueError: no", **options: Any) -> UUID:
    """A task that failed for good."""
    task = client.enqueue_sync("talk", Message(text=text), **options).agent_id
    [(_, token)] = claim(client)
    finish(client, task, token, Status.ERROR)
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason=reason)
    client.queue.step(StepRequest(worker="w", nonce=uuid4().hex, finishes=[end]))
    return task


def test_they_are_listed_with_their_reasons_the_latest_first(client: ax.Client, letters: DeadLetters) -> None:
    tasks = [bury(client, text=str(n), reason=f"reason {n}") for n in range(5)]
    for n, task in enumerate(tasks):  # apart in time, as fast tests are not
        client.redis.zadd(client.queue.keys.dlq, {str(task): 1_700_000_000_000 + n})
    assert [(x.task_id, x.reason, x.context) for x in letters.page(limit=2)] == [
        (str(tasks[4]), "reason 4", {"text": "4"}),
        (str(tasks[3]), "reason 3", {"text": "3"}),
    ]
    assert [x.task_id for x in letters.page(offset=2)] == [str(task) for task in tasks[2::-1]]
    assert letters.count() == 5
    assert letters.page()[0].died_at.isoformat() == "2023-11-14T22:13:20.004000+00:00"


def test_requeuing_makes_a_new_activity_that_names_the_old_one(
    client: ax.Client, letters: DeadLetters
) -> None:
    old = bury(client, metadata={"tenant": "a"}, priority=ax.Priority.HIGH, lock_key="user:7")
    new = requeue(client, old)
    assert status_of(client.engine, old) == "error"
    with Session(client.engine) as session:
        found = session.query(Activity).filter_by(id=new).one()
        assert found.context == {"text": "hello"}
        assert found.metadata_ == {"tenant": "a", "requeued_from": str(old)}
        assert found.priority == ax.Priority.HIGH.level
        assert found.lock_key == "user:7"
    assert letters.count() == 0
    assert [task for task, _ in claim(client, want=5)] == [new]
    assert activity.Status(status_of(client.engine, new)) is Status.RUNNING


def test_requeuing_after_a_failure_half_way_makes_no_second_task(
    client: ax.Client, letters: DeadLetters
) -> None:
    old = bury(client)
    dead = client.redis.dump(client.queue.keys.dlq) or b""
    job = client.redis.hget(client.queue.keys.job, str(old))
    first = requeue(client, old)
    # As if the process had died before it removed the letter.
    client.redis.restore(client.queue.keys.dlq, 0, dead)
    client.redis.hset(client.queue.keys.job, str(old), job)
    assert requeue(client, old) == first
    assert len(claim(client, want=5)) == 1


def test_a_task_whose_activity_was_cleaned_up_can_still_run_again(
    client: ax.Client, letters: DeadLetters
) -> None:
    old = bury(client)
    with client.engine.begin() as connection:
        connection.execute(delete(Activity))
    new = requeue(client, old)
    assert [task for task, _ in claim(client)] == [new]


def test_a_payload_that_cannot_be_read_is_shown_and_not_requeued(
    client: ax.Client, letters: DeadLetters
) -> None:
    keys = client.queue.keys
    client.redis.hset(keys.job, b"\xff not an id", b"1\x80\x81 not JSON")
    client.redis.hset(keys.reason, b"\xff not an id", "The payload is not JSON.")
    client.redis.zadd(keys.dlq, {b"\xff not an id": 1})
    task = uuid4()
    client.redis.hset(keys.job, str(task), b"scribble")
    client.redis.zadd(keys.dlq, {str(task): 2})
    assert [(x.task_id, x.task_name, x.payload) for x in letters.page()] == [
        (str(task), None, b"cribble"),
        ("hex:ff206e6f7420616e206964", None, b"\x80\x81 not JSON"),
    ]
    with pytest.raises(ax.InvalidTask, match="purge"):
        requeue(client, task)
    assert letters.count() == 2


@pytest.mark.parametrize(
    "key", [b"", b"\xff", b"hex:ff", b"a\nb", "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()]
)
def test_a_letter_under_any_bytes_is_found_and_purged_by_what_it_is_listed_as(
    client: ax.Client, letters: DeadLetters, key: bytes
) -> None:
    keys = client.queue.keys
    for other in {key, b"\xff", b"hex:ff", b""}:
        client.redis.hset(keys.job, other, b"0")
        client.redis.hset(keys.reason, other, "it is not the id of a task")
        client.redis.zadd(keys.dlq, {other: 1})
    before = letters.count()
    [letter] = [
        found for found in letters.page() if letters.get(found.task_id) and _raw(found.task_id) == key
    ]
    assert letter.reason == "it is not the id of a task"
    assert letter.task_id.isprintable()
    assert letters.purge([letter.task_id]) == 1
    assert letters.count() == before - 1
    assert not client.redis.hexists(keys.job, key)
    assert letters.purge_all() == before - 1


def _raw(shown: str) -> bytes:
    return bytes.fromhex(shown.removeprefix("hex:")) if shown.startswith("hex:") else shown.encode()


def test_purging_throws_away_dead_letters_and_nothing_alive(client: ax.Client, letters: DeadLetters) -> None:
    dead = [bury(client) for _ in range(3)]
    alive = client.enqueue_sync("talk", Message()).agent_id
    assert letters.purge([dead[0], alive, uuid4()]) == 1
    assert letters.purge_all() == 2
    assert client.queue.depth().known == 1
    assert [task for task, _ in claim(client)] == [alive]
    assert status_of(client.engine, dead[0]) == "error"
    for name in ("job", "reason", "crash", "cancel"):
        found = client.redis.hkeys(getattr(client.queue.keys, name))
        assert [key for key in found if key != str(alive).encode()] == []


def unrecorded(client: ax.Client) -> UUID:
    """A dead letter whose activity still says RUNNING: the worker died before it recorded the end."""
    task = client.enqueue_sync("talk", Message(text="hello")).agent_id
    [(_, token)] = claim(client)
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason="ValueError: no")
    client.queue.step(StepRequest(worker="w", nonce=uuid4().hex, finishes=[end]))
    assert status_of(client.engine, task) == "running"
    return task


def compare(client: ax.Client) -> None:
    """Two full passes of a pool, of rows that are old enough."""
    with client.engine.begin() as connection:
        connection.execute(update(Activity).values(created_at=datetime(2020, 1, 1, tzinfo=UTC)))
    reconciler = Reconciler(client.engine, client.queue, client.settings)
    for _ in range(2):
        reconciler.run_round(full_pass=True)


@pytest.mark.invariant("I6")
def test_requeuing_a_letter_whose_activity_is_pending_ends_it_first(client: ax.Client) -> None:
    """Otherwise the comparison dispatches the old one too, and the task runs twice."""
    old = unrecorded(client)
    new = requeue(client, old)
    row = row_of(client.engine, old)
    require_sound(row)
    assert (row.status, row.error) == ("error", "ValueError: no")
    compare(client)
    assert [task for task, _ in claim(client, want=5)] == [new]


@pytest.mark.invariant("I6")
def test_purging_a_letter_whose_activity_is_pending_ends_it_first(
    client: ax.Client, letters: DeadLetters
) -> None:
    old = unrecorded(client)
    assert letters.purge([old]) == 1
    assert status_of(client.engine, old) == "error"
    compare(client)
    assert claim(client, want=5) == []
    assert letters.count() == 0


def test_a_text_that_only_resembles_the_id_of_an_activity_ends_no_activity(
    client: ax.Client, letters: DeadLetters
) -> None:
    """Redis takes any text, and UUID("{...}") reads several spellings."""
    task = client.enqueue_sync("talk", Message()).agent_id
    for spelling in (str(task).upper(), f"{{{task}}}", task.hex):
        client.redis.rpush(client.queue.keys.ready[1], spelling)
    assert [i for i, _ in claim(client, want=9)] == [task]
    assert letters.purge_all() == 3
    assert status_of(client.engine, task) == "running"


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.CANCELED])
def test_a_letter_whose_activity_ended_otherwise_is_not_requeued(
    client: ax.Client, letters: DeadLetters, status: Status
) -> None:
    """Its worker died between the record and the queue, so the queue counted a crash too many."""
    task = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    finish(client, task, token, status)
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason="its worker died")
    client.queue.step(StepRequest(worker="w", nonce=uuid4().hex, finishes=[end]))
    with pytest.raises(ax.AgentexecError, match=f"is {status}.*purge"):
        requeue(client, task)
    assert letters.purge([task]) == 1


# After Redis lost everything


def test_they_are_in_the_record_after_redis_lost_everything(client: ax.Client, letters: DeadLetters) -> None:
    tasks = [bury(client, text=str(n), reason=f"reason {n}") for n in range(3)]
    before = letters.page()
    client.redis.flushall()
    assert letters.count() == 3
    assert [x.task_id for x in letters.all()] == [str(task) for task in reversed(tasks)]
    assert [x.task_id for x in letters.page(offset=1, limit=1)] == [str(tasks[1])]
    found = letters.get(tasks[0])
    assert found is not None
    assert (found.task_name, found.context, found.payload) == ("talk", {"text": "0"}, before[2].payload)
    new = requeue(client, tasks[0])
    assert letters.count() == 2
    assert letters.purge([tasks[1], uuid4()]) == 1
    assert letters.purge_all() == 1
    assert letters.count() == 0
    compare(client)
    assert [task for task, _ in claim(client, want=5)] == [new]


def test_some_in_redis_and_some_in_the_record_are_one_list(client: ax.Client, letters: DeadLetters) -> None:
    lost = bury(client, text="lost")
    client.redis.flushall()
    both = bury(client, text="both")
    foreign = uuid4()  # only Redis has it
    client.redis.zadd(client.queue.keys.dlq, {str(foreign): 9e15 // 1000})
    assert [x.task_id for x in letters.all()] == [str(foreign), str(both), str(lost)]
    assert letters.count() == 3
    assert letters.purge_all() == 3
    assert letters.count() == 0


@pytest.mark.parametrize("outcome", ["crash", "comparison"])
def test_the_record_has_those_whose_workers_died_too(
    client: ax.Client, letters: DeadLetters, outcome: str
) -> None:
    if outcome == "comparison":
        task = unrecorded(client)
        compare(client)
    else:
        task = client.enqueue_sync("talk", Message()).agent_id
        client.queue.agree({"max_crashes": "0"})
        claim(client)
        Reconciler(client.engine, client.queue, client.settings).release_worker("w", charge=True)
    client.redis.flushall()
    (letter,) = letters.page()
    assert letter.task_id == str(task)
    assert letter.reason.startswith("its worker died" if outcome == "crash" else "ValueError: no")


def test_an_activity_that_others_ended_as_error_is_no_dead_letter(
    client: ax.Client, letters: DeadLetters
) -> None:
    activity.error(client.enqueue_sync("talk", Message()).agent_id)
    activity.error(activity.create("by hand"))
    client.redis.flushall()
    assert letters.count() == 0


def test_the_letters_of_other_queues_are_not_listed(client: ax.Client) -> None:
    bury(client)
    client.redis.flushall()
    assert DeadLetters(client.queue_of("another"), client.engine).count() == 0


def test_the_letters_of_other_queues_are_not_purged(client: ax.Client, letters: DeadLetters) -> None:
    task = bury(client)
    client.redis.flushall()
    assert DeadLetters(client.queue_of("another"), client.engine).purge([task]) == 0
    assert letters.count() == 1


def test_a_task_that_is_no_dead_letter_any_longer_is_not_purged(client: ax.Client) -> None:
    """An operator may have read the list before."""
    task = client.enqueue_sync("talk", Message()).agent_id
    client.queue.purge([str(task).encode()])
    assert client.queue.depth().known == 1
    assert [claimed for claimed, _ in claim(client)] == [task]


def test_an_unknown_letter_is_refused(client: ax.Client, letters: DeadLetters) -> None:
    assert letters.get(uuid4()) is None
    with pytest.raises(ax.AgentexecError, match="no dead letter"):
        requeue(client, uuid4())


def test_many_are_read_in_pages(client: ax.Client, letters: DeadLetters) -> None:
    ids = {str(uuid4()): n for n in range(1_201)}
    client.redis.zadd(client.queue.keys.dlq, ids)
    assert len({letter.task_id for letter in letters.all()}) == 1_201
    assert letters.purge_all() == 1_201


def test_a_dead_letter_blocks_nothing_of_the_record(client: ax.Client) -> None:
    task = bury(client)
    with client.engine.begin() as connection:
        assert statements.request_cancel(connection, [task], "late") == {}
