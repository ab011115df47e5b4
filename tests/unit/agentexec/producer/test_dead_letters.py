"""Dead letters can be listed, looked into, run again as new activities, and thrown away."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity, Status
from agentexec.producer.requeue import requeue
from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.store import statements
from tests.support.activity_support import Message, claim, finish, status_of


@pytest.fixture
def letters(client: ax.Client) -> DeadLetters:
    return DeadLetters(client.queue)


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
