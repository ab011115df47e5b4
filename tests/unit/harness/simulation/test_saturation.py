"""How many cells a campaign reached, how many it still expects, and when it ends."""

from __future__ import annotations

import random
from collections import Counter
from xml.etree import ElementTree

import pytest

from harness.simulation.campaign import Campaign, Limits
from harness.simulation.saturation import Saturation
from harness.simulation.saturation_curve import saturation_curve

WEIGHTS = [1 / (number + 1) for number in range(3000)]
EACH = 3


def draws(runs: int) -> Saturation:
    """Runs that reach some of the cells, the later ones more rarely."""
    rng, found = random.Random(1), Saturation()
    for _ in range(runs):
        found.add(1, dict.fromkeys(map(str, rng.choices(range(len(WEIGHTS)), WEIGHTS, k=EACH)), 1))
    return found


@pytest.mark.parametrize("runs", [500, 2000])
def test_the_number_of_new_cells_in_the_next_run_is_estimated(runs: int) -> None:
    found = draws(runs)
    unseen = sum(weight for cell, weight in enumerate(WEIGHTS) if str(cell) not in found.counts)
    assert found.new_in_next == pytest.approx(EACH * unseen / sum(WEIGHTS), rel=0.1)
    assert Saturation().new_in_next == 0.0


def test_runs_that_reach_nothing_new_are_counted_and_the_curve_has_the_others() -> None:
    found = Saturation()
    found.add(20, {"a": 3, "b": 1})
    found.add(20, {"a": 1})
    assert (found.quiet, found.new_in_next) == (20, 1 / 40)
    found.add(20, {"c": 1, "b": 1})
    assert (found.quiet, found.curve) == (0, [(20, 2), (60, 3)])
    found.add(5, {})
    assert found.line.startswith("3 cells of fault, call and state; the last 5 runs reached nothing new; ")
    assert list(found.to_json()["counts"]) == ["c", "b", "a"]  # type: ignore[call-overload]


def test_a_campaign_ends_once_it_is_saturated_late_or_has_findings() -> None:
    limits, campaign = Limits(failing=2, quiet=40, seconds=60.0), Campaign()
    campaign.groups.add(20, {"a": 1})
    campaign.groups.add(39, {})
    campaign.saturation.add(59, {"a cell": 1})
    assert limits.reached(campaign, 59.9) == ""
    assert limits.reached(campaign, 60.0) == "not saturated: 1 min are over, 39 runs after the last new group"
    campaign.failing = {1: [], 2: []}
    assert limits.reached(campaign, 0.0) == "2 with findings"
    campaign.groups.add(1, {})
    assert limits.reached(campaign, 0.0) == "saturated: the last 40 runs reached no new group"
    assert Limits(failing=3).reached(campaign, 1e9) == ""


def test_the_picture_has_a_point_for_each_growth() -> None:
    found = draws(50)
    root = ElementTree.fromstring(saturation_curve(found))
    [curve] = [one for one in root.iter() if one.get("class") == "c"]
    assert curve.get("d", "").count("L") == len(found.curve) + 1
    [heading] = [one.text or "" for one in root.iter() if one.get("class") == "h"]
    assert heading == f"{len(found.counts)} cells of fault, call and state in 50 runs"
    assert ElementTree.fromstring(saturation_curve(Saturation())) is not None
    groups = Saturation(noun="group", of="cells", runs=9, counts=Counter("ab"))
    assert "2 groups of cells in 9 runs" in saturation_curve(groups)
