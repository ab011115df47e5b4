"""`--load`: stages as a text, and those of a module or a locustfile, which this process does not import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.planned_load import PlannedLoad
from harness.load.schedule import LoadSchedule
from harness.load.stages import hold, ramp, repeat

MODULE = """
import locust
from harness.load import OpenShape, hold, ramp

class Day(OpenShape):
    stages = [hold(20, "2s"), ramp(20, 40, "1s")]
    pacing = "even"
    seed = 11

thresholds = {"TASK": "p95 < 2s", "ALL": "lost = 0"}
"""

PLAIN = """
from harness.load import hold

plain = hold(5, "1s")
thresholds = {"TASK answer": "p95 < 2s"}
"""


def load(text: str, *thresholds: str, seed: int = 1) -> PlannedLoad:
    return PlannedLoad.of(text, seed=seed, thresholds=thresholds, lateness=0.05)


def times(stages: Any, seed: int = 1, **more: Any) -> tuple[float, ...]:
    schedule = LoadSchedule(stages=stages, seed=seed, **more)
    return tuple(arrival.intended for arrival in schedule.arrivals())


def test_a_text_has_the_arrivals_of_its_stages_by_the_seed_of_the_run() -> None:
    found = load("[repeat([hold(20, '1s'), ramp(1, 5, duration=2)], times=2)], hold(3.5, '2s')", seed=9)
    assert found.due == times([repeat([hold(20, "1s"), ramp(1, 5, 2)], times=2), hold(3.5, "2s")], seed=9)
    assert found.seconds == 8
    assert [one["rate"] for one in found.stages] == [20, None, 20, None, 3.5]
    assert found.note.startswith(
        f"the load has {len(found.due)} arrivals in 8 s: hold 20/s for 1s, ramp 1 to 5/s"
    )


def test_a_shape_of_a_locustfile_keeps_its_seed_its_pacing_and_its_thresholds(tmp_path: Path) -> None:
    path = tmp_path / "locust_day.py"
    path.write_text(MODULE, "utf-8")
    found = load(f"{path}:Day")
    assert found.due == times([hold(20, "2s"), ramp(20, 40, "1s")], seed=11, pacing="even")
    assert found.thresholds == {"TASK": "p95 < 2s", "ALL": "lost = 0"}
    assert "locust_day" not in sys.modules


def test_stages_of_a_module_and_thresholds_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_day.py").write_text(PLAIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    thresholds = ("TASK p95 < 1234.5ms, p99 < 5s", "LATE max < 1s", "TASK lost = 0")
    found = load("plain_day:plain", *thresholds, seed=3)
    assert found.due == times(hold(5, "1s"), seed=3)
    assert found.thresholds == {"TASK": "p95 < 1234.5ms, p99 < 5s, lost = 0", "LATE": "max < 1s"}
    with pytest.raises(UsageError, match="have no names"):
        load("plain_day:plain")


@pytest.mark.parametrize("thresholds", ["{('TASK', 'WAIT'): 'p95 < 2s'}", "{'TASK': 2}", "['TASK p95 < 2s']"])
def test_thresholds_of_a_module_that_are_none_are_named(
    thresholds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_day.py").write_text(f"{PLAIN}\nthresholds = {thresholds}\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="must map a row to its thresholds"):
        load("wrong_day:plain", "TASK p95 < 2s")


@pytest.mark.parametrize(
    ("text", "thresholds", "sentence"),
    [
        ("hold()", (), "missing 1 required positional argument"),
        ("hold(20, '1m').seconds", (), "is no stage"),
        ("__import__('os').getcwd()", (), "is no stage"),
        ("hold(len('12'), '1m')", (), "is no stage"),
        ("hold(20, '1m'", (), "cannot be read"),
        ("hold(20)", (), "has no end"),
        ("steps(1, 1, every='1s')", (), "has no end"),
        ("hold(0, '1s')", (), "has no arrival"),
        ("hold(100000, '1h')", (), "takes 1,000,000 at most"),
        ("(1, 2)", (), "cannot have a stage 1"),
        ("steady", (), "names no load"),
        ("nowhere/none.py:X", (), "cannot be imported"),
        ("hold(20, '1s')", ("p95 < 2s",), "does not begin with a row"),
        ("hold(20, '1s')", ("TASK p95 < 2",), "wrong unit"),
    ],
)
def test_what_is_no_load_is_refused_with_a_sentence(
    text: str, thresholds: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        load(text, *thresholds)
