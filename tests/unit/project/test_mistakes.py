"""The mistakes of the proof of the doctor: of many checks, each shown or with the reason why not, all in the page."""

from __future__ import annotations

from collections import Counter

import chaos
from harness.doctor.registry import CHECKS
from tests.mistakes import matrix
from tests.mistakes.dangers import DANGERS
from tests.mistakes.listed import MISTAKES
from tests.mistakes.not_shown import NOT_SHOWN

MADE = {one.id for one in MISTAKES}
SHOWN = [one.id for one in DANGERS]
REASONED = [name for names, _ in NOT_SHOWN for name in names]


def test_the_mistakes_are_of_many_checks() -> None:
    assert MADE | {*SHOWN, *REASONED} <= {one.id for one in CHECKS}
    assert len(MADE) >= 25


def test_each_mistake_is_shown_by_a_run_or_has_one_reason_why_not() -> None:
    assert [name for name, count in Counter([*SHOWN, *REASONED]).items() if count > 1] == []
    assert {*SHOWN, *REASONED} >= MADE


def test_each_run_is_of_a_scenario_that_ships_or_of_no_fault() -> None:
    assert {trial.scenario.name for one in DANGERS for trial in (one.wrong, one.right)} <= {
        *chaos.SCENARIOS,
        "no-faults",
    }


def test_each_kept_result_is_of_a_mistake_as_it_is_now_and_as_it_has_to_be() -> None:
    last, runs = matrix.kept(), {one.id: (one.mistake, one.wrong.scenario.name) for one in DANGERS}
    assert {one["id"] for one in last["mistakes"]} <= MADE
    assert last["dangers"]
    for one in last["dangers"]:
        assert (one["mistake"], one["scenario"]) == runs[one["id"]]
        assert (one["wrong"].partition(":")[0], one["right"]) == ("INVALID", "VALID")
