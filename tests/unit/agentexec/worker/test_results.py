"""What a handler returns is recorded as pydantic writes it, or fails once."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_serializer

from agentexec.config import Settings, load_settings
from agentexec.context import current_task
from agentexec.errors import InvalidTask
from agentexec.worker.run_result import RunKind, json_result
from tests.support.handler_bench import Bench, Done, Job, on_a_bench

LIMIT = 10_000  # bytes
MOMENT = datetime(2026, 5, 9, 7, 35, tzinfo=UTC)


@dataclasses.dataclass
class Point:
    x: int
    seen: datetime


class Pair(NamedTuple):
    first: int
    second: Any


class Color(enum.Enum):
    RED = "red"


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")


class Broken(BaseModel):
    value: int = 0

    @field_serializer("value")
    def _write(self, value: int) -> int:
        raise SystemExit("as asked")


@pytest.mark.parametrize(
    ("result", "recorded"),
    [
        (None, None),
        (Done(number=1), {"number": 1}),
        ([Done(number=1), Done(number=2)], [{"number": 1}, {"number": 2}]),
        ({"a": Done(number=1)}, {"a": {"number": 1}}),
        ((Done(number=1), None), [{"number": 1}, None]),
        (MOMENT, "2026-05-09T07:35:00Z"),
        (date(2026, 5, 9), "2026-05-09"),
        (timedelta(seconds=90), "PT1M30S"),
        (Point(1, MOMENT), {"x": 1, "seen": "2026-05-09T07:35:00Z"}),
        (Pair(1, Color.RED), [1, "red"]),
        (UUID(int=1), str(UUID(int=1))),
        (Decimal("1.10"), "1.10"),
        ({3}, [3]),
        (frozenset({3}), [3]),
        (b"text", "text"),
        (Path("/a"), "/a"),
        ({1: "a", None: 2}, {"1": "a", "None": 2}),
        (Aliased(userId=1), {"user_id": 1}),
        ([Aliased(userId=1)], [{"user_id": 1}]),
        ("text", "text"),
        (1.5, 1.5),
        (True, True),
    ],
    ids=repr,
)
def test_a_result_is_recorded_as_pydantic_writes_it(result: Any, recorded: Any) -> None:
    value, text = json_result(result, LIMIT)
    assert (value, type(value)) == (recorded, type(recorded))
    assert json.loads(text) == value


def _endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "result",
    [
        object(),
        [object()],
        {"a": {"b": object()}},
        float("nan"),
        [float("inf")],
        Done(number=1).model_copy(update={"number": float("nan")}),
        b"\xff",
        "\0",
        "\ud800",
        {"\udc00": 1},
        itertools.count(),
        (n for n in (1, 2)),
        _endless(),
        10**5000,
        ValueError("x"),
        Broken(),
        int,
    ],
    ids=range(17),
)
def test_a_result_without_a_json_form_fails_once_with_a_sentence(result: Any) -> None:
    with pytest.raises(
        InvalidTask, match=r"^The handler's result cannot be written as JSON \(.*\); return ."
    ):
        json_result(result, LIMIT)

    async def returns_it(agent_id: UUID, context: Job) -> Any:
        return result

    async def scene(bench: Bench) -> None:
        bench.run(returns_it)
        ended = await bench.result()
        assert ended.kind is RunKind.FAILED, "no retry would help"
        assert "The handler's result cannot be written as JSON" in (ended.error or "")

    on_a_bench(load_settings(max_task_retries=3), scene)


def test_the_result_of_a_handler_that_failed_by_its_own_decision_is_not_looked_at() -> None:
    async def decides(agent_id: UUID, context: Job) -> Any:
        current_task().fail("no such user")
        return object()

    async def scene(bench: Bench) -> None:
        bench.run(decides)
        assert (await bench.result()).error == "no such user"

    settings: Settings = load_settings()
    on_a_bench(settings, scene)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("value", [None, 0, "", "a\N{SNOWMAN}", [1.5, {"a": None}], 10**400, nested(100)])
def test_a_result_that_fits_is_left_as_it_is_with_its_text(value: Any) -> None:
    after, text = json_result(value, LIMIT)
    assert after == value
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "value", [nested(102), nested(990), nested(100_000), "x" * 9_999, "\N{SNOWMAN}" * 5_000], ids=range(5)
)
def test_a_result_that_does_not_fit_is_refused_in_a_sentence(value: Any) -> None:
    with pytest.raises(InvalidTask, match=r"^The handler's result ") as refused:
        json_result(value, LIMIT)
    assert len(str(refused.value)) < 300


def test_the_limit_is_in_bytes_and_its_error_names_the_setting() -> None:
    json_result("x" * 98, 100)
    with pytest.raises(
        InvalidTask, match=r"takes 101 bytes, more than AGENTEXEC_MAX_RESULT_BYTES allows \(100\);"
    ):
        json_result("x" * 99, 100)
