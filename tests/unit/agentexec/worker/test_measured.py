"""The end of a run as its worker takes it: a result that the record cannot hold fails the run once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from agentexec.identifiers import new_id
from agentexec.worker.run_result import RunKind, RunResult, measured


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def ended(value: Any, kind: RunKind = RunKind.COMPLETE) -> RunResult:
    return RunResult(
        task_id=new_id(), token=1, kind=kind, result=value, message="the handler's verdict", task_name="t"
    )


@pytest.mark.parametrize("value", [None, 0, "", "a\N{SNOWMAN}", [1.5, {"a": None}], 10**400, nested(100)])
def test_a_result_that_fits_is_left_as_it_is_with_its_text(value: Any) -> None:
    before = ended(value)
    after = measured(before, 10_000)
    assert (after.kind, after.result, after.message) == (before.kind, value, before.message)
    assert json.loads(after.encoded) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        "a\0b",
        "\ud800",
        {"\0": 1},
        {1: "a", "1": "b"},
        {(1,): 1},
        object(),
        b"bytes",
        10**5000,
        nested(102),
        nested(990),
        nested(100_000),
        "x" * 9_999,
        "\N{SNOWMAN}" * 5_000,
    ],
    ids=range(15),
)
def test_a_result_that_does_not_fit_fails_for_good_whatever_the_handler_decided(value: Any) -> None:
    after = measured(ended(value), 10_000)
    assert (after.kind, after.result, after.message) == (RunKind.FAILED, None, None)
    assert (after.error or "").startswith("The handler's result ")
    assert len(after.error or "") < 300


def test_the_limit_is_in_bytes_and_its_error_names_the_setting() -> None:
    assert measured(ended("x" * 98), 100).kind is RunKind.COMPLETE
    error = measured(ended("x" * 99), 100).error
    assert error is not None
    assert "takes 101 bytes, more than AGENTEXEC_MAX_RESULT_BYTES allows (100)" in error


@pytest.mark.parametrize("kind", sorted(set(RunKind) - {RunKind.COMPLETE}))
def test_other_ends_have_no_result(kind: RunKind) -> None:
    before = ended(None, kind)
    assert measured(before, 1) is before
