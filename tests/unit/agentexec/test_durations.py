"""Every duration has one bound: what is longer, infinite or no number is refused at the door."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

import agentexec as ax
from agentexec import testing
from agentexec.activity.retention import cleanup_old_activities
from agentexec.activity.startup import cancel_pending
from agentexec.config import LONGEST_DURATION, Settings, load_settings
from agentexec.core import runtime
from agentexec.errors import ConfigurationError, InvalidTask, RegistrationError
from agentexec.producer.results import gather, get_result
from agentexec.task import LONGEST_DELAY, TaskDefinition

TOO_LONG = [math.inf, math.nan, 1e12, LONGEST_DURATION * 1.01]
# Settings in seconds: all that are no whole numbers, and one that is.
DURATIONS = [name for name, field in Settings.model_fields.items() if field.annotation is float] + [
    "result_ttl"
]


class Job(BaseModel):
    pass


async def handler(agent_id: UUID, context: Job) -> None: ...


def test_the_settings_that_are_durations_are_known() -> None:
    ending = ("_seconds", "_timeout", "_limit", "_ttl")
    named = [name for name in Settings.model_fields if name.endswith(ending)]
    assert set(DURATIONS) == {*named} - {"api_rate_limit"}


@pytest.mark.parametrize("value", TOO_LONG)
@pytest.mark.parametrize("name", DURATIONS)
def test_a_setting_is_bounded(name: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load_settings(**{name: value})
    monkeypatch.setenv(f"AGENTEXEC_{name.upper()}", str(value))
    with pytest.raises(ConfigurationError, match=name.upper()):
        load_settings()


@pytest.mark.parametrize("name", DURATIONS)
def test_a_setting_may_be_weeks(name: str) -> None:
    assert getattr(load_settings(**{name: 14 * 86_400}), name) == 14 * 86_400


@pytest.mark.parametrize("value", TOO_LONG)
def test_arguments_are_bounded(value: float) -> None:
    pool = ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    doors: list[tuple[type[Exception], Callable[[], Any]]] = [
        (ConfigurationError, lambda: ax.Pool(graceful_shutdown_timeout=value)),
        (RegistrationError, lambda: TaskDefinition("x", handler, soft_time_limit=value)),
        (RegistrationError, lambda: pool.add_task("x", handler, time_limit=value)),
        (ValueError, lambda: asyncio.run(pool.shutdown(value))),
        (ValueError, lambda: asyncio.run(get_result(uuid4(), value))),
        (ValueError, lambda: asyncio.run(gather(uuid4(), timeout=value))),
    ]
    for error, door in doors:
        with pytest.raises(error, match=r"at most|less than|finite"):
            door()


@pytest.mark.parametrize("value", TOO_LONG)
def test_ages_are_bounded(value: float) -> None:
    engine = sa.create_engine("sqlite://")
    with pytest.raises(ValueError, match="grace"), sa.orm.Session(engine) as session:
        cancel_pending(session, grace=value)
    with pytest.raises(ValueError):
        cleanup_old_activities(engine, value)
    with pytest.raises(ValueError, match="calendar"):
        cleanup_old_activities(engine, older_than=timedelta.max)


@pytest.mark.parametrize("half", [Decimal("0.5"), Fraction(1, 2)])
def test_a_duration_may_be_a_number_of_any_type(half: Any) -> None:
    definition = TaskDefinition("half", handler, soft_time_limit=half, time_limit=2 * half)
    assert (definition.soft_time_limit, definition.time_limit) == (0.5, 1.0)
    pool = ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    pool.add_task("half", handler, soft_time_limit=half, time_limit=2 * half)
    assert testing.run(pool, "half", Job(), delay=half).status == "complete"
    asyncio.run(pool.shutdown(half))
    with testing.in_memory(pool) as client:
        task = client.enqueue_sync("half", Job(), delay=half)
        with pytest.raises(TimeoutError):
            asyncio.run(get_result(task, half / 10))
        assert cleanup_old_activities(client.engine, half, pause=half) == 0
        assert ax.activity.update(ax.activity.create("x"), "x", half)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Fraction(10**400)])
def test_what_no_float_holds_is_refused_as_a_float_is(value: Any) -> None:
    test_ages_are_bounded(value)
    with pytest.raises(RegistrationError, match="at most"):
        TaskDefinition("x", handler, time_limit=value)
    with pytest.raises(ValueError, match="at most"):
        asyncio.run(get_result(uuid4(), value))
    pool = ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    with testing.in_memory(pool) as client, pytest.raises(InvalidTask, match="at most"):
        client.enqueue_sync("x", Job(), delay=value)
    with pytest.raises(ValueError, match="percentage"):
        ax.activity.update(uuid4(), "x", value)


def test_the_longest_delay_is_that_bound() -> None:
    assert LONGEST_DELAY == LONGEST_DURATION


@pytest.mark.parametrize("value", [LONGEST_DURATION, 0.0])
def test_the_bound_itself_can_be_waited_for(value: float) -> None:
    """By every means that agentexec has: an event, a mailbox, an event loop."""
    settings = load_settings(graceful_shutdown_timeout=value)
    system = runtime.current()
    deadline = settings.graceful_shutdown_timeout + 5.0
    event = system.event()
    mailbox: runtime.Mailbox[int] = system.mailbox()
    event.set()
    mailbox.put(1)
    assert event.wait(deadline)
    assert mailbox.get(timeout=deadline) == 1

    async def wait() -> None:
        asyncio.get_running_loop().call_later(deadline, print).cancel()
        async with asyncio.timeout(deadline):
            await asyncio.sleep(0)

    asyncio.run(wait())
