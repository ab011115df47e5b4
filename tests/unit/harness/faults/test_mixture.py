"""Faults of many kinds in one run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import chaos
from harness.faults.mixture import mixed


def test_each_kind_is_there_about_equally_often_and_the_faults_are_spread_evenly() -> None:
    faults = mixed(162, graceful=3.0)
    assert faults == chaos.SCENARIOS["mixed-soak"].faults
    often = Counter(fault.name for fault in faults)
    assert len(often) >= 25
    assert min(often.values()) >= 5
    places = [fault.at for fault in faults]
    assert places == sorted(places)
    assert 0 < places[0] < places[-1] < 1


def test_its_order_is_mixed_and_always_the_same() -> None:
    assert [fault.name for fault in mixed(162, graceful=3.0)] == [
        fault.name for fault in mixed(162, graceful=3.0)
    ]
    followers = {(one.name, other.name) for one, other in pairwise(mixed(162, graceful=3.0))}
    assert len(followers) > 100, "a kind has many others behind it"
