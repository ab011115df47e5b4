"""The generated history of the checker benchmark: every checker has evidence in it and finds it valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checkers.base import Verdict, check_all
from harness.errors import HarnessError
from harness.history import History
from loadtests.bench.history import checkers, made, measure


def test_every_checker_finds_the_made_history_good_and_none_was_idle() -> None:
    history = History(tuple(made(20_000)))
    assert 20_000 <= len(history) < 20_200
    results = check_all(checkers(), history)
    assert {name: r.summary for name, r in results.items() if r.verdict is not Verdict.VALID} == {}
    counts = {
        "effects": "effects",
        "progress": "reports",
        "locks": "locked_tasks",
        "priorities": "judged_waits",
        "recovery": "interrupted",
    }
    assert all(results[name].figures[figure] for name, figure in counts.items())


def test_what_is_measured_is_seconds_and_megabytes_of_reading_and_of_each_checker(tmp_path: Path) -> None:
    History(tuple(made(500))).save(tmp_path / "h.jsonl")
    found = measure(tmp_path / "h.jsonl")
    assert found.keys() == {"load", "judge", "both", "peak", *(f"checker {name}" for name in checkers())}
    assert found["both"] == pytest.approx(found["load"] + found["judge"])
    assert found["peak"] > 10


def test_a_history_that_is_not_good_is_not_measured(tmp_path: Path) -> None:
    operations = [op for op in made(500) if op.f != "record"]
    History(tuple(operations)).save(tmp_path / "h.jsonl")
    with pytest.raises(HarnessError, match="delivery"):
        measure(tmp_path / "h.jsonl")
