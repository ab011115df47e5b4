"""Servers that are silent: nothing waits twice for the same server, and nothing asks it after the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import psycopg
import pytest
import redis
import sqlalchemy as sa
from pydantic import BaseModel
from redis.sentinel import MasterNotFoundError

from agentexec.config import load_settings
from agentexec.core import circuit
from agentexec.core.circuit import Circuit
from agentexec.core.db import create_schema
from agentexec.producer import enqueuer
from agentexec.producer.client import Client
from agentexec.store import dialects
from agentexec.store.rows import NewActivity

SETTINGS = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
ERRORS = [redis.TimeoutError("silence"), MasterNotFoundError("no Sentinel answers")]


class Job(BaseModel):
    text: str = "x" * 100


def test_a_batch_of_many_bytes_waits_once_for_a_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a batch is recorded in several parts."""
    tries: list[int] = []

    def silent(_connection: object, activities: Sequence[NewActivity], **_: bool) -> NoReturn:
        tries.append(len(activities))
        raise sa.exc.OperationalError("", None, psycopg.errors.ConnectionTimeout("silence"))

    monkeypatch.setattr(enqueuer, "record_enqueued", silent)
    monkeypatch.setattr(dialects, "STATEMENT_BYTES", 200)

    async def scene(client: Client) -> list[Any]:
        calls = [client.enqueue("task", Job()) for _ in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with Client(settings=SETTINGS) as client:
        create_schema(client.engine)
        answers = asyncio.run(scene(client))
    assert all(isinstance(answer, sa.exc.OperationalError) for answer in answers)
    assert len(tries) <= 2, "one for the first caller, which may be alone, and one for the others"


@pytest.mark.parametrize("error", ERRORS)
def test_after_a_time_out_of_redis_no_enqueue_waits_for_another(
    error: redis.RedisError, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def silent(tasks: Sequence[object]) -> NoReturn:
        tries.append(len(tasks))
        raise error

    with Client(settings=SETTINGS) as client:
        create_schema(client.engine)
        monkeypatch.setattr(client.queue, "enqueue", silent)
        for _ in range(3):
            client.enqueue_sync("task", Job())
        assert client.circuit.silent
    assert tries == [1]


@pytest.mark.parametrize("error", ERRORS)
def test_a_closed_circuit_asks_redis_no_more(
    error: redis.RedisError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is closed, and the probe would open a connection that nothing closes."""
    monkeypatch.setattr(circuit, "PROBE_EVERY_SECONDS", 0.1)
    probes: list[int] = []
    silence = Circuit(lambda: probes.append(1))
    before = set(threading.enumerate())
    silence.note(error)
    (thread,) = set(threading.enumerate()) - before
    silence.close()
    thread.join(10)
    assert not thread.is_alive()
    assert probes == []


def test_a_circuit_ends_its_silence_with_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "PROBE_EVERY_SECONDS", 0.0)
    answers: list[Exception | None] = [ERRORS[0], redis.ConnectionError("not yet"), None]

    def probe() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    silence = Circuit(probe)
    silence.note(redis.ConnectionError("refused, which takes no time"))
    assert not silence.silent
    before = set(threading.enumerate())
    silence.note(ERRORS[0])
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert (silence.silent, answers) == (False, [])
