"""Load profiles are bounded and match their summaries."""

import dataclasses

import pytest

from harness.errors import UsageError
from loadtests.profiles import BURST, PROFILES, SMOKE, STEADY, Profile, profile


@pytest.mark.parametrize("each", PROFILES.values(), ids=PROFILES)
def test_a_profile_is_bounded_in_time_and_has_no_cap_at_which_it_idles(each: Profile) -> None:
    assert each.duration <= 60
    assert each.planned_in(600) == pytest.approx(10 * each.planned_in(60))


@pytest.mark.parametrize("each", PROFILES.values(), ids=PROFILES)
def test_the_workers_of_a_profile_can_keep_up_with_it(each: Profile) -> None:
    busy = each.planned_in(each.duration) / each.duration * sum(each.work) / 2
    assert busy < 0.8 * each.workers * each.concurrency


@pytest.mark.parametrize("each", PROFILES.values(), ids=PROFILES)
def test_even_a_short_run_of_a_profile_is_enough_to_measure(each: Profile) -> None:
    assert each.planned_in(3) >= each.slo.minimum_tasks


def test_the_summaries_name_the_right_rates() -> None:
    assert SMOKE.planned_in(20) == pytest.approx(40 * 20)
    assert STEADY.planned_in(60) == pytest.approx(100 * 60)
    assert BURST.planned_in(10) == pytest.approx(2 * 200 + 8 * 20)


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMOKE.users = 1  # type: ignore[misc]  # that it fails is the point


def test_an_unknown_profile_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match=r"'soak'.*smoke, steady, burst"):
        profile("soak")
