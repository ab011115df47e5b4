"""Every door through which a value enters the record: it is stored as it is given, or refused in one sentence.

The database is Postgres, which refuses more than Python writes. A refusal comes before anything is written.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy import func, select

import agentexec as ax
from agentexec.config import load_settings
from agentexec.errors import InvalidTask, PayloadTooLarge, RegistrationError
from agentexec.producer.client import use_client
from agentexec.producer.requeue import requeue
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.store.models import Activity, ActivityLog
from agentexec.task import TaskDefinition, TaskRequest, UncheckedContext
from agentexec.text import MAX_MESSAGE

pytestmark = pytest.mark.integration


class Anything(BaseModel):
    """A context of one value."""

    value: Any = None


@pytest.fixture
def client(client: ax.Client) -> Iterator[ax.Client]:
    """A client that stands for every client of this process."""
    epoch = client.queue.begin_rebuild("doors")
    assert epoch is not None
    client.queue.end_rebuild(epoch)
    with use_client(client):
        yield client


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def count(client: ax.Client) -> int:
    with client.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Activity)).scalar_one()


def stored(client: ax.Client, agent_id: UUID) -> Activity:
    with client.engine.connect() as connection:
        query = select(Activity.__table__).where(Activity.__table__.c.id == agent_id)
        return connection.execute(query).one()  # type: ignore[return-value]  # a row


def last_message(client: ax.Client, agent_id: UUID) -> str:
    query = select(ActivityLog.message).where(ActivityLog.activity_id == agent_id)
    with client.engine.connect() as connection:
        return (
            connection.scalars(query.order_by(ActivityLog.fence.desc(), ActivityLog.n.desc())).first() or ""
        )


def is_sentence(error: BaseException) -> bool:
    text = str(error)
    return len(text) < 500 and "\n" not in text and text.isprintable() and "psycopg" not in text


TEXTS = {
    "nul": "a\0b",
    "surrogate": "a\ud800b",
    "300": "x" * 300,
    "snowmen": "\N{SNOWMAN}" * 255,
    "100000": "x" * 100_000,
    "empty": "",
}
NAMES: dict[str, Callable[[ax.Client, str], UUID]] = {
    "task_name": lambda client, v: client.enqueue_sync(v, Anything()).agent_id,
    "async": lambda client, v: asyncio.run(client.enqueue(v, Anything())).agent_id,
    "idempotency_key": lambda c, v: c.enqueue_sync("t", Anything(), idempotency_key=v).agent_id,
    "lock_key": lambda c, v: c.enqueue_sync("t", Anything(), lock_key=v).agent_id,
    "second of many": lambda c, v: (
        c.enqueue_many_sync(
            [TaskRequest(task_name="t", context=Anything(), lock_key=key) for key in ("good", v)]
        )[1].agent_id
    ),
    "activity": lambda _, v: ax.activity.create(v),
}
COLUMNS = {"idempotency_key": "idempotency_key", "lock_key": "lock_key", "second of many": "lock_key"}


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_name_is_stored_as_it_is_or_refused(client: ax.Client, door: str, kind: str) -> None:
    value, before = TEXTS[kind], count(client)
    if kind == "snowmen":
        row = stored(client, NAMES[door](client, value))
        assert getattr(row, COLUMNS.get(door, "agent_type")) == value
        return
    with pytest.raises(InvalidTask) as caught:
        NAMES[door](client, value)
    assert is_sentence(caught.value)
    assert count(client) == before


@pytest.mark.parametrize("kind", sorted(set(TEXTS) - {"snowmen"}))
def test_a_task_is_registered_under_a_name_that_the_record_holds(kind: str) -> None:
    async def handler(agent_id: UUID, context: Anything) -> None: ...

    with pytest.raises(RegistrationError) as caught:
        ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1").task(TEXTS[kind])(handler)
    assert is_sentence(caught.value)


@pytest.mark.parametrize("kind", sorted(set(TEXTS) - {"snowmen"}))
def test_the_lock_key_of_a_registration_is_held_to_the_same(kind: str) -> None:
    async def handler(agent_id: UUID, context: Anything) -> None: ...

    definition = TaskDefinition("locked", handler, lock_key="{value}")
    with pytest.raises(InvalidTask) as caught:
        definition.lock_key({"value": TEXTS[kind]})
    assert is_sentence(caught.value)


def running(client: ax.Client) -> UUID:
    agent_id = ax.activity.create("by hand")
    ax.activity.update(agent_id, "It runs.")
    return agent_id


MESSAGES: dict[str, Callable[[ax.Client, str], UUID]] = {
    "create": lambda _, v: ax.activity.create("t", v),
    "update": lambda c, v: _after(running(c), lambda i: ax.activity.update(i, v)),
    "complete": lambda c, v: _after(running(c), lambda i: ax.activity.complete(i, v)),
    "error": lambda c, v: _after(running(c), lambda i: ax.activity.error(i, v)),
    "cancel": lambda c, v: _after(running(c), lambda i: ax.activity.cancel(i, v)),
    "error of a task": lambda c, v: _after(
        c.enqueue_sync("t", Anything()).agent_id, lambda i: ax.activity.error(i, v)
    ),
    "note of a task": lambda c, v: _after(
        c.enqueue_sync("t", Anything()).agent_id, lambda i: ax.activity.update(i, v)
    ),
    "client.cancel": lambda c, v: _after(
        c.enqueue_sync("t", Anything()).agent_id, lambda i: c.cancel([i], v)
    ),
    "client.cancel by hand": lambda c, v: _after(running(c), lambda i: c.cancel([i], v)),
}


def _after(agent_id: UUID, change: Callable[[UUID], object]) -> UUID:
    change(agent_id)
    return agent_id


@pytest.mark.parametrize("door", MESSAGES)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_message_is_kept_as_far_as_the_record_can(client: ax.Client, door: str, kind: str) -> None:
    value = TEXTS[kind]
    found = last_message(client, MESSAGES[door](client, value))
    expected = value.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\ud800", "?")[:MAX_MESSAGE]
    assert found == expected


VALUES: dict[str, tuple[Any, bool]] = {
    "nan": (math.nan, False),
    "infinity": (math.inf, False),
    "minus-infinity": (-math.inf, False),
    "nul": ("a\0b", False),
    "surrogate": ("a\ud800b", False),
    "nul-in-key": ({"a\0b": 1}, False),
    "object": (object(), False),
    "10**400": (10**400, True),
    "-10**400": (-(10**400), True),
    "10**5000": (10**5000, False),
    "nested-90": (nested(90), True),
    "nested-1000": (nested(1_000), False),
    "nested-100000": (nested(100_000), False),
    "half-a-megabyte": ("x" * 500_000, True),
    "two-megabytes": ("x" * 2_000_000, False),
    "escapes": (r"\u0000 \\u0000 \ud800", True),
    "empty": ({"": []}, True),
}
JSON: dict[str, Callable[[ax.Client, Any], UUID]] = {
    "context": lambda c, v: c.enqueue_sync("t", Anything(value=v)).agent_id,
    "unchecked context": lambda c, v: c.enqueue_sync("t", UncheckedContext({"value": v})).agent_id,
    "metadata": lambda c, v: c.enqueue_sync("t", Anything(), metadata={"value": v}).agent_id,
    "async metadata": lambda c, v: asyncio.run(c.enqueue("t", Anything(), metadata={"value": v})).agent_id,
    "activity metadata": lambda _, v: ax.activity.create("t", metadata={"value": v}),
}


@pytest.mark.parametrize("door", JSON)
@pytest.mark.parametrize("kind", VALUES)
def test_a_json_value_is_stored_as_it_is_or_refused(client: ax.Client, door: str, kind: str) -> None:
    (value, fits), before = VALUES[kind], count(client)
    if fits:
        row = stored(client, JSON[door](client, value))
        assert (row.context if "context" in door else row.metadata)["value"] == value  # type: ignore[index]
        return
    with pytest.raises(InvalidTask) as caught:
        JSON[door](client, value)
    assert is_sentence(caught.value), str(caught.value)
    assert count(client) == before
    if kind == "two-megabytes":
        assert isinstance(caught.value, PayloadTooLarge)


@pytest.mark.parametrize(
    "keys", [{1: "a"}, {None: 1}, {(1, 2): 1}, {1: "a", "1": "b"}, {math.nan: 1}], ids=range(5)
)
@pytest.mark.parametrize("door", [door for door in JSON if "metadata" in door])
def test_keys_of_metadata_are_text(client: ax.Client, door: str, keys: dict[Any, Any]) -> None:
    """Python writes other keys as text, and two keys perhaps as the same one."""
    before = count(client)
    with pytest.raises(InvalidTask, match="a key that is not text"):
        JSON[door](client, keys)
    assert count(client) == before


PERCENTAGES: dict[str, Callable[[UUID, Any], object]] = {
    "update": lambda i, v: ax.activity.update(i, "m", v),
    "complete": lambda i, v: ax.activity.complete(i, "m", v),
    "error": lambda i, v: ax.activity.error(i, "m", v),
}


@pytest.mark.parametrize("door", PERCENTAGES)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 101, -1, 70_000, 10**30, 10**5000, "50", [50], True],
    ids=range(11),
)
def test_a_percentage_is_0_to_100(client: ax.Client, door: str, value: Any) -> None:
    agent_id = running(client)
    with pytest.raises((ValueError, TypeError)) as caught:
        PERCENTAGES[door](agent_id, value)
    assert "percentage" in str(caught.value) or "Exceeds the limit" in str(caught.value)
    assert stored(client, agent_id).status == "running"


@pytest.mark.parametrize("value", [0, 99.9, 100.0])
def test_a_fraction_of_a_percent_is_left_out(client: ax.Client, value: float) -> None:
    agent_id = running(client)
    ax.activity.update(agent_id, "m", value)
    query = select(ActivityLog.percentage).where(ActivityLog.activity_id == agent_id)
    with client.engine.connect() as connection:
        assert connection.scalars(query.order_by(ActivityLog.n.desc())).first() == int(value)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "", "a b", "\N{SNOWMAN}"])
def test_a_queue_name_is_a_key(name: str) -> None:
    with pytest.raises(ax.ConfigurationError) as caught:
        load_settings(queue_name=name)
    assert is_sentence(caught.value)


def test_the_context_and_the_metadata_share_one_limit(client: ax.Client) -> None:
    half = "x" * 600_000
    client.enqueue_sync("t", Anything(value=half))
    with pytest.raises(PayloadTooLarge, match="AGENTEXEC_MAX_PAYLOAD_BYTES"):
        client.enqueue_sync("t", Anything(value=half), metadata={"value": half})


def test_270_tasks_of_a_megabyte_are_one_call(client: ax.Client) -> None:
    """Postgres takes 268,435,455 bytes in one JSON value."""
    text = "x" * 1_000_000
    requests = [TaskRequest(task_name="t", context=Anything(value=text)) for _ in range(270)]
    tasks = client.enqueue_many_sync(requests)
    query = select(func.count()).where(Activity.id.in_([task.agent_id for task in tasks]))
    with client.engine.connect() as connection:
        assert connection.execute(query).scalar_one() == 270
    assert client.queue.depth().ready == 270


def test_a_call_of_several_statements_is_recorded_as_a_whole_or_not_at_all(client: ax.Client) -> None:
    before = count(client)
    client.enqueue_sync("other", Anything(), idempotency_key="taken")
    text = "x" * 1_000_000
    requests = [TaskRequest(task_name="t", context=Anything(value=text)) for _ in range(70)]
    requests.append(TaskRequest(task_name="t", context=Anything(), idempotency_key="taken"))
    with pytest.raises(InvalidTask):
        client.enqueue_many_sync(requests)
    assert count(client) == before + 1


def test_dead_letters_with_long_names_are_requeued_each_as_its_own_task(client: ax.Client) -> None:
    """Whatever was pushed into the queue is a dead letter under its own name, of any length."""
    keys = client.queue.keys
    names = ["x" * 300 + end for end in "ab"]
    for name in names:
        client.redis.hset(keys.job, name, b'0{"task_name":"t","context":{}}')
        client.redis.zadd(keys.dlq, {name: 1.0})
    assert len({requeue(client, name) for name in names}) == 2


def test_a_dead_letter_with_unusable_contents_is_refused_in_one_sentence(client: ax.Client) -> None:
    payloads = {
        "nul": rb'0{"task_name":"t","context":{"a":"\u0000"}}',
        "name": b'0{"task_name":"%s","context":{}}' % (b"x" * 300),
        "surrogate": rb'0{"task_name":"t","context":{"a":"\ud800"}}',
        "deep": b'0{"task_name":"t","context":{"a":%s1%s}}' % (b"[" * 500, b"]" * 500),
    }
    before = count(client)
    for name, payload in payloads.items():
        client.redis.hset(client.queue.keys.job, name, payload)
        client.redis.zadd(client.queue.keys.dlq, {name: 1.0})
        with pytest.raises(InvalidTask) as caught:
            requeue(client, name)
        assert is_sentence(caught.value)
    assert count(client) == before


def test_a_reason_of_any_text_reaches_the_dead_letters(client: ax.Client) -> None:
    task = client.enqueue_sync("t", Anything())
    (claim,) = client.queue.step(StepRequest(worker="w", nonce="1", want=1)).claims
    finish = Finish(
        task_id=claim.task_id, token=claim.token, disposition=Disposition.DEAD_LETTER, reason="\N{SNOWMAN}"
    )
    client.queue.step(StepRequest(worker="w", nonce="2", finishes=[finish]))
    assert client.queue.dead_reasons([task.agent_id]) == {task.agent_id: "\N{SNOWMAN}"}
