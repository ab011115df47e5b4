"""A value that cannot be read makes a VALID history UNKNOWN: no checker skips it, and none breaks down."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.checkers.base import Verdict
from harness.history import History, InjectionKind
from harness.report.picture_data import picture_data
from harness.report.task_list import task_list
from harness.run.judging import judge_alone
from tests.support.histories import INVOKE, HistoryBuilder, completed


def whole_history() -> History:
    """Two tasks, the second with a delay, and a fault that was healed."""
    builder = HistoryBuilder().enqueued(1).op("client", INVOKE, "enqueue", task=2, delay=0.5)
    builder.enqueued(2).injected("stall-redis", InjectionKind.PAUSE, seconds=0.2)
    completed(builder.at(1), 1, 2)
    return builder.queue(known=0, held=[]).history


def verdict(history: History) -> Verdict:
    return Verdict.combine(result.verdict for result in judge_alone(history).results.values())


def test_the_history_of_the_next_test_is_valid() -> None:
    assert verdict(whole_history()) is Verdict.VALID


NO_NUMBERS: tuple[object, ...] = ("5", True, [1], {})
NO_SECONDS = (*NO_NUMBERS, math.nan, math.inf, 1e300)


@pytest.mark.parametrize(
    ("f", "name", "values"),
    [
        ("enqueue", "delay", NO_SECONDS),
        ("stall-redis", "phase", ("injected", None)),
        ("stall-redis", "fault", (*NO_NUMBERS, math.nan)),
        ("stall-redis", "seconds", NO_SECONDS),
        ("stall-redis", "kind", ("meteor", None, [])),
        ("stall-redis", "pids", ({}, 0, "", "12", [1.5])),
        ("run", "fence", (*NO_NUMBERS, 1.0)),
        ("record", "task", NO_NUMBERS),
        ("record", "status", (["complete"], {}, None, "COMPLETE")),
        ("queue", "known", ("0", 1.5, {})),
        ("queue", "held", ("a1", 1, {})),
        ("queue", "dead", ("x",)),
    ],
)
def test_it_is_unknown(f: str, name: str, values: tuple[object, ...]) -> None:
    history = whole_history()
    *_, last = history.where(f)
    last = next((one for one in history.where(f) if name in one.value), last)
    for value in values:
        changed = replace(last, value={**last.value, name: value})
        operations = [changed if one is last else one for one in history]
        assert verdict(History.of(operations)) is Verdict.UNKNOWN, value
        picture = picture_data(History.of(operations))
        assert task_list(History.of(operations), picture, {}).count == (0 if picture.problem else 2)
