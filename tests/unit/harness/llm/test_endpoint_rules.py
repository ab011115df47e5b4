"""Distributions, disturbances, limits, schema values and profiles, without a server."""

from __future__ import annotations

import json
import math
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.errors import UsageError
from harness.llm import Disturbance, EndpointFault, EndpointProfile, LognormalDistribution
from harness.llm.answers import Piece
from harness.llm.disturbances import DisturbanceSchedule
from harness.llm.formats import merged
from harness.llm.limits import RateLimiter, duration_text
from harness.llm.schema_values import schema_value
from harness.llm.tokens import PromptCache, token_count


def test_a_distribution_has_the_quantiles_that_describe_it() -> None:
    rng, distribution = Random(1), LognormalDistribution.of("0.4..3")
    drawn = sorted(distribution.draw(rng) for _ in range(20_000))
    assert drawn[10_000] == pytest.approx(0.4, rel=0.05)
    assert drawn[19_800] == pytest.approx(3, rel=0.1)
    assert LognormalDistribution.of(2).draw(rng) == 2
    assert str(distribution) == "0.4..3"
    assert str(LognormalDistribution.of("7")) == "7"


@pytest.mark.parametrize("wrong", ["", "x", "3..1", "-1", "nan", "inf", "0..3", "1..2..3", True, None])
def test_a_wrong_distribution_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError):
        LognormalDistribution.of(wrong)


def test_the_windows_of_a_disturbance_repeat_by_seed_and_have_their_means() -> None:
    disturbance = Disturbance.parse("429 share=0.9 every=60 lasting=10 after=5")
    windows = list(islice(disturbance.windows(Random(1)), 4_000))
    assert windows == list(islice(disturbance.windows(Random(1)), 4_000))
    assert windows[0][0] == 5
    assert all(before[1] < after[0] for before, after in pairwise(windows))
    lengths = [end - begin for begin, end in windows]
    assert sum(lengths) / len(lengths) == pytest.approx(10, rel=0.05)
    assert windows[-1][0] / len(windows) == pytest.approx(60, rel=0.05)


def test_faults_are_correlated_in_windows_and_have_their_share() -> None:
    schedule = DisturbanceSchedule(1)
    schedule.add([Disturbance.parse("503 share=0.5 after=10 lasting=10 slowdown=4")])
    rng = Random(2)
    assert [schedule.trouble(at, rng).fault for at in (0, 9.9)] == [None, None]
    inside = [schedule.trouble(10 + n / 1000, rng) for n in range(9_000)]
    hit = [trouble for trouble in inside if trouble.fault is EndpointFault.UNAVAILABLE]
    assert len(hit) / len(inside) == pytest.approx(0.5, abs=0.05)
    assert {trouble.slowdown for trouble in inside} == {4}
    after = schedule.trouble(20, rng)
    assert (after.fault, after.slowdown) == (None, 1)


def test_a_slow_share_is_a_tail() -> None:
    schedule = DisturbanceSchedule(1)
    schedule.add([Disturbance.parse("slow share=0.1")])
    rng = Random(3)
    drawn = [schedule.trouble(1, rng).slowdown for _ in range(5_000)]
    assert set(drawn) == {1, 10}
    assert drawn.count(10) == pytest.approx(500, rel=0.2)


def test_a_429_of_a_window_asks_for_the_rest_of_it() -> None:
    schedule = DisturbanceSchedule(1)
    schedule.add([Disturbance.parse("429 lasting=10")], now=100)
    assert schedule.trouble(104, Random(1)).retry_after == 6
    schedule.add([Disturbance.parse("429 retry_after=3")], now=200)
    assert schedule.trouble(204, Random(1)).retry_after == 3
    schedule.clear()
    assert schedule.trouble(205, Random(1)).fault is None


@pytest.mark.parametrize(
    "wrong",
    ["", "none", "429 share=2", "429 share=x", "429 other=1", "429 every=10", "429 every=5 lasting=5", "429 after=-1",
     "429 slowdown=0.5", "429 lasting=nan", "429 lasting"],
)  # fmt: skip
def test_a_wrong_disturbance_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        Disturbance.parse(wrong)


@pytest.mark.parametrize(
    "wrong", [{}, {"fault": None}, {"fault": "429", "share": None}, {"fault": "429", "after": []}]
)
def test_a_wrong_disturbance_in_json_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Disturbance.of_value(wrong)


def test_limits_refill_continuously_and_by_key() -> None:
    limiter = RateLimiter(60, 600)
    assert [limiter.admit("a", 10, 0).exceeded for _ in range(61)] == [None] * 60 + ["requests"]
    assert limiter.admit("b", 10, 0).exceeded is None
    assert limiter.admit("a", 10, 1).exceeded is None
    refused = limiter.admit("a", 10, 1)
    assert refused.exceeded == "requests"
    assert refused.wait == pytest.approx(1)
    assert limiter.admit("c", 600, 0).exceeded is None
    assert limiter.admit("c", 300, 0).wait == pytest.approx(30)
    assert limiter.admit("c", 601, 60).too_large
    assert limiter.admit("c", 600, 60).exceeded is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.85, "850ms"), (1.5, "1.5s"), (59, "59s"), (360, "6m0s"), (61.2, "1m1s")],
)
def test_durations_of_the_headers(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_tokens_and_cached_prefixes() -> None:
    assert [token_count(text) for text in ("", "a", "abcd", "abcde", "ä" * 4)] == [0, 1, 1, 2, 2]
    cache = PromptCache()
    long = "x" * 4 * 1_024
    assert cache.cached("a", long[1:]) == 0
    assert [cache.cached("a", long), cache.cached("a", long), cache.cached("b", long)] == [0, 1_024, 0]
    assert cache.cached("a", "y" + long) == 0
    assert cache.cached("a", long + "z" * 10_000) == 1_024


SCHEMA: dict[str, Any] = {
    "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}, "next": {"$ref": "#/$defs/point"}}}},
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 3, "maximum": 4},
        "above": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        "flag": {"type": "boolean"},
        "none": {"type": "null"},
        "fixed": {"const": 7},
        "either": {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 30, "maxLength": 30}]},
        "list": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 2, "maxItems": 2},
        "kinds": {"type": ["string", "null"]},
        "deep": {"$ref": "#/$defs/point"},
    },
}  # fmt: skip


def test_values_obey_their_schema() -> None:
    for seed in range(20):
        value = schema_value(SCHEMA, Random(seed))
        assert set(value) == set(SCHEMA["properties"])
        assert value["n"] in (3, 4)
        assert value["above"] == 4
        assert value["fixed"] == 7
        assert value["flag"] in (True, False)
        assert value["either"] is None or len(value["either"]) == 30
        assert len(value["list"]) == 2
        assert isinstance(value["kinds"], str)
        assert len(json.dumps(value)) < 2_000


def test_pieces_are_merged_to_events_without_loss() -> None:
    text = [Piece(str(number), 1) for number in range(5)]
    calls = [
        Piece("f", 1, 0, begins=True),
        *(Piece(each, 1, 0) for each in "abc"),
        Piece("g", 1, 1, begins=True),
    ]
    found = list(merged([*text, *calls], 2))
    assert [piece.text for _, piece in found] == ["01", "23", "4", "f", "ab", "c", "g"]
    assert [number for number, _ in found] == [2, 4, 5, 6, 8, 9, 10]
    assert list(merged([], 2)) == []


def test_a_profile_is_read_from_json(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    settings = {
        "seed": 3,
        "first_token": "0.4..3",
        "per_token": 0.01,
        "models": ["a"],
        "requests_per_minute": 10,
        "tokens_per_minute": None,
        "disturbances": ["cut share=0.1", {"fault": "429", "lasting": 3}],
        "abandoned": "whole",
        "time_scale": 2,
    }
    file.write_text(json.dumps(settings), "utf-8")
    profile = EndpointProfile.of_value(EndpointProfile.read(file))
    assert profile.first_token == LognormalDistribution(0.4, 3)
    assert profile.disturbances[1].lasting == 3
    assert (profile.seed, profile.models, profile.time_scale, profile.abandoned) == (3, ("a",), 2, "whole")


@pytest.mark.parametrize(
    "wrong",
    [
        {"other": 1},
        {"seed": "x"},
        {"seed": None},
        {"time_scale": 0},
        {"time_scale": math.nan},
        {"time_scale": "2"},
        {"models": "a"},
        {"tokens_per_event": 0},
        {"tokens_per_event": None},
        {"requests_per_minute": -1},
        {"requests_per_minute": 1.5},
        {"abandoned": "half"},
        {"disturbances": "429"},
        {"first_token": "slow"},
    ],
)
def test_a_wrong_profile_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EndpointProfile.of_value(wrong)


def test_an_unreadable_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    for text in ("{", "[]"):
        file.write_text(text, "utf-8")
        with pytest.raises(UsageError):
            EndpointProfile.read(file)
    with pytest.raises(UsageError):
        EndpointProfile.read(tmp_path / "none.json")
