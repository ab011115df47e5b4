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
from tests.unit.harness.load.test_baseline import evidence, report

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


NAMED = ("TASK refund: p95 < 2s", "WAIT refund max < 9s, TASK lost = 0")


def test_thresholds_of_a_name_are_those_that_the_tasks_of_the_target_may_have() -> None:
    def of(names: tuple[str, ...] | None) -> PlannedLoad:
        return PlannedLoad.of("hold(20, '1s')", seed=1, thresholds=NAMED, lateness=0.05, names=names)

    by_row = {"TASK refund": "p95 < 2s", "WAIT refund": "max < 9s", "TASK": "lost = 0"}
    assert of(("refund", "other")).thresholds == of(None).thresholds == by_row
    with pytest.raises(UsageError, match=r"'TASK refund'; .* name of a task: a, b"):
        of(("b", "a"))
    with pytest.raises(UsageError, match="have no names"):
        of(())
    with pytest.raises(UsageError, match="There is no row 'ALL refund'"):
        PlannedLoad.of("hold(20, '1s')", seed=1, thresholds="ALL refund lost = 0", lateness=1, names=None)


def test_the_baseline_of_a_scenario_is_its_load_in_the_report_of_a_chaos_run(tmp_path: Path) -> None:
    for name, latency in (("kill-pool", 1.0), ("flush-redis", 2.0)):
        report(tmp_path / "load" / name, evidence(latency))
    found = load("hold(20, '1s')", "TASK p95 < 1.2x").with_baseline(tmp_path, ["kill-pool", "flush-redis"])
    p50s = [one["rows"]["TASK answer"]["latency"]["p50"] for one in found.baselines.values()]
    assert p50s == pytest.approx([1.0, 2.0], rel=0.01)
    assert found.to_value("kill-pool")["baseline"] == found.baselines["kill-pool"]
    with pytest.raises(UsageError, match="cannot be read"):
        found.with_baseline(tmp_path, ["stall-redis"])
    with pytest.raises(UsageError, match="needs an earlier load; give --load-baseline DIR"):
        found.with_baseline(None, ["kill-pool"])


def test_stages_of_a_program_are_described_by_themselves() -> None:
    found = PlannedLoad.of(
        [hold(5, "1s"), ramp(1, 5, 2)], seed=1, thresholds={"TASK": "p95 < 2s"}, lateness=1
    )
    assert (found.text, found.thresholds) == ("hold 5/s for 1s, ramp 1 to 5/s in 2s", {"TASK": "p95 < 2s"})


SHAPES = """
from harness.load import OpenShape, hold, replay

class Raises(OpenShape):
    @property
    def stages(self): raise RuntimeError("no stages today")

class Other: pass
"""


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("Raises", "", "The shape Raises raised RuntimeError: no stages today; correct its module."),
        ("Other", "", "Other is no OpenShape of harness.load; name one, or stages."),
        ("Raises", "replay('nowhere.csv')", "The trace nowhere.csv cannot be read "),
    ],
)
def test_a_shape_that_raises_says_what_it_raised(name: str, more: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "shapes.py").write_text(SHAPES + more, "utf-8")
    with pytest.raises(UsageError) as refused:
        load(f"{tmp_path / 'shapes.py'}:{name}")
    assert str(refused.value).startswith(sentence)
