"""The figures of several processes are those of one."""

from __future__ import annotations

import json
import math
import random

import pytest

from harness.load.figures import Figures, RecentFigures, merged


def sample(seed: int, number: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.expovariate(10) for _ in range(number)]


def test_two_processes_together_have_the_quantiles_of_one() -> None:
    one, parts = Figures(), [Figures(), Figures()]
    for index, seconds in enumerate(sample(1, 2000)):
        for figures in (one, parts[index % 2]):
            figures.record("TASK", "answer", seconds, failed=index % 100 == 0)
            figures.record("LATE", "answer", seconds / 10)
            figures.series.latency(index / 100, seconds)
    sent = [Figures.from_value(json.loads(json.dumps(part.to_value()))) for part in parts]
    both = merged(sent).all_rows(planned=2000, seconds=20)
    alone = one.all_rows(planned=2000, seconds=20)
    assert both.keys() == alone.keys()
    for name, row in alone.items():
        percentiles = [0, 50, 90, 99, 99.9, 100]
        assert both[name].latencies.quantiles(percentiles) == row.latencies.quantiles(percentiles)
        assert (both[name].count, both[name].errors) == (row.count, row.errors)
    assert alone["TASK"].latencies.quantile(99.5) == math.inf


def test_the_plan_of_a_name_is_its_share_of_what_was_sent_and_lost_tasks_are_failures() -> None:
    figures = Figures()
    for name, number in {"answer": 3, "summary": 1}.items():
        for _ in range(number):
            figures.record("LATE", name, 0.0)
    figures.lose("answer")
    rows = figures.all_rows(planned=8, seconds=2)
    assert (rows["LATE answer"].planned, rows["LATE summary"].planned, rows["TASK"].planned) == (6, 2, 8)
    assert (rows["TASK answer"].errors, rows["TASK answer"].figures["lost"], rows["TASK"].errors) == (1, 1, 1)
    assert figures.accounting.lost == 1


def test_recent_figures_forget_what_is_older_than_twice_their_time() -> None:
    now = 0.0
    recent = RecentFigures(5, clock=lambda: now)
    recent.record("TASK", "answer", 9.0)
    now = 6.0
    recent.record("TASK", "answer", 1.0)
    assert recent.figures().rows["TASK answer"].count == 2
    now = 12.0
    recent.record("TASK", "answer", 1.0)
    assert recent.figures().rows["TASK answer"].latencies.most == 1.0


def test_a_record_of_a_known_row_builds_no_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """A histogram costs more than all the rest of a record."""
    figures = Figures()
    figures.record("TASK", "a", 0.1)
    monkeypatch.setattr("harness.load.figures.LoadRow", None)
    figures.record("TASK", "a", math.inf)
    assert (figures.rows["TASK a"].count, figures.rows["TASK a"].errors) == (2, 1)
