"""Named events: each has a probe, and a campaign that never reached one of those that it must reach is UNKNOWN."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import MappingProxyType

import pytest

import harness.simulation
from harness.cli import main
from harness.simulation import reach
from harness.simulation.call_faults import _STRUCK
from harness.simulation.reach import MISSED_BY_CHANCE, SOMETIMES, Reach, Sometimes

SOURCE = Path(harness.simulation.__file__).parent
# Beginnings of names that probes compose.
COMPOSED = (*_STRUCK.values(), "late-", "cancel-of-")
WHILE_AWAY = "-while-redis-is-away"


def test_there_are_at_least_fifty_named_events_and_each_has_a_meaning() -> None:
    assert len(SOMETIMES) >= 50
    assert all(event.meaning for event in SOMETIMES.values())


def test_every_name_that_a_probe_notes_is_in_the_table_and_every_name_of_the_table_is_noted() -> None:
    text = "".join(path.read_text() for path in SOURCE.glob("*.py") if path.name != "reach.py")
    written = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', text))
    noted = set(re.findall(r'\.add\(\s*"([a-z-]+)"', text))
    assert noted <= SOMETIMES.keys()
    composed = {name for name in SOMETIMES if name.startswith(COMPOSED) or name.endswith(WHILE_AWAY)}
    assert SOMETIMES.keys() - composed <= written


@pytest.mark.parametrize("one_in", [1.5, 20.0, 3000.0])
def test_a_campaign_of_the_budget_misses_an_event_by_chance_once_in_a_million(one_in: float) -> None:
    event = Sometimes("", one_in)
    assert (1 - 1 / one_in) ** event.budget <= MISSED_BY_CHANCE < (1 - 1 / one_in) ** (event.budget - 1)


@pytest.mark.parametrize(("runs", "events"), [(500, 50), (100_000, 100)])
def test_a_campaign_of_ci_requires_fifty_events_and_one_of_a_night_a_hundred(runs: int, events: int) -> None:
    assert len(Reach(runs=runs).required) >= events


def test_only_an_event_that_was_to_be_expected_is_missing() -> None:
    found = Reach()
    found.add(100, dict.fromkeys(SOMETIMES, 1))
    assert not found.missing
    expected = found.required[0]
    del found.counts[expected]
    assert found.missing == [expected]
    assert expected in found.line
    small = Reach()
    small.add(1, {})
    assert not small.missing


def test_a_campaign_that_missed_an_event_is_unknown_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = {**SOMETIMES, "pigs-fly": Sometimes("never", 1.001)}
    monkeypatch.setattr(reach, "SOMETIMES", MappingProxyType(events))
    arguments = ["simulate", "--seeds", "3", "--first", "0", "--jobs", "1", "--report", str(tmp_path)]
    assert main(arguments) == 2
    assert "UNKNOWN: none reached pigs-fly" in capsys.readouterr().out
    assert "| `pigs-fly` | never |" in (tmp_path / "campaign.md").read_text()
    report = json.loads((tmp_path / "campaign.json").read_text())
    assert report["not reached"] == ["pigs-fly"]
    rows = {row["event"]: row for row in report["reach"]}
    assert rows.keys() == events.keys()
    assert rows["delay-ends"]["runs"] <= report["runs"] == 3
