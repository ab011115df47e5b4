"""What a campaign without a finding is worth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from harness.cli import main
from harness.simulation.power import WANTED, Density, Power, densities, found_with, rarest
from tests.planted import table
from tests.planted.__main__ import DOCUMENT


@pytest.mark.parametrize("runs", [1, 10, 500, 100_000])
def test_the_rarest_defect_is_found_with_the_stated_probability(runs: int) -> None:
    assert found_with(rarest(runs), runs) == pytest.approx(WANTED)
    assert found_with(rarest(runs) / 2, runs) < WANTED


def test_the_probability_is_that_of_drawing() -> None:
    share, runs, drawn = 0.01, 100, random.Random(1)
    found = sum(any(drawn.random() < share for _ in range(runs)) for _ in range(4000)) / 4000
    assert found_with(share, runs) == pytest.approx(found, abs=0.03)
    assert (found_with(0.0, runs), found_with(1.0, 1)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"), [(0, 120, 0.0, 0.031), (60, 120, 0.412, 0.588), (120, 120, 0.969, 1.0)]
)
def test_the_interval_is_wilsons(hits: int, tries: int, low: float, high: float) -> None:
    assert Density(hits, tries).interval == pytest.approx((low, high), abs=0.001)


def test_more_runs_find_rarer_defects_and_more_of_the_planted_ones() -> None:
    few, many = Power.of(100), Power.of(10_000)
    assert few.rarest > many.rarest
    assert few.least <= many.least <= many.most <= many.known == len(densities())
    assert many.line.startswith("a defect that 0.3 of 1,000 schedules show would have been found with 95 %; ")
    assert Power.of(1).least == 1  # what every schedule shows


def test_a_campaign_says_what_it_is_worth_and_what_its_faults_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = ["--seeds", "2", "--first", "1", "--jobs", "1", "--until-saturated", "9"]
    assert main(["simulate", *seeds, "--report", str(tmp_path)]) == 0
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "campaign.json").read_text())
    assert f"worth:   {Power.of(2).line}\n" in printed
    assert report["worth"] == Power.of(2).to_json()
    assert f"cells:   {report['coverage']['cells']} cells of fault, call and state; " in printed
    assert f"groups:  {report['groups']['groups']} groups of cells; " in printed
    assert printed.endswith("ended:   not saturated: all runs are made, 0 after the last new group\n")
    assert all("</svg>" in (tmp_path / f"{name}.svg").read_text() for name in ("coverage", "groups"))
    assert report["coverage"]["cells"] == len(report["coverage"]["counts"]) > 10
    assert report["groups"]["groups"] == len(report["groups"]["counts"]) > 10
    assert main(["simulate", "--seeds", "2", "--minutes", "1"]) == 64
    assert "--minutes is for --until-saturated. Leave it out." in capsys.readouterr().err


def test_the_densities_are_those_of_the_page() -> None:
    measured = {name: one for name, one in table.densities(DOCUMENT).items() if one.hits}
    assert densities() == measured, "run `python -m tests.planted.density NAME`"
    assert len(measured) > 30
