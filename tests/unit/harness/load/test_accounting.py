"""What became of the arrivals: counts that add up, over any number of processes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.load.accounting import Accounting

OUTCOMES = st.lists(
    st.tuples(
        st.sampled_from(["dropped", "refused", "unknown", "COMPLETE", "ERROR", "lost"]), st.floats(0, 2)
    ),
    max_size=30,
)


def count(outcomes: list[tuple[str, float]]) -> Accounting:
    found = Accounting()
    for outcome, lateness in outcomes:
        found.notice(lateness / 2)
        if outcome == "dropped":
            found.drop()
            continue
        found.send(lateness)
        if outcome in {"refused", "unknown"}:
            setattr(found, outcome, getattr(found, outcome) + 1)
            continue
        found.acknowledged += 1
        if outcome == "lost":
            found.lost += 1
        else:
            found.terminal[outcome] += 1
    return found


@given(st.lists(OUTCOMES, max_size=4))
def test_the_counts_of_all_processes_are_those_of_one(parts: list[list[tuple[str, float]]]) -> None:
    merged = Accounting()
    for part in parts:
        merged.merge(Accounting.from_value(json.loads(json.dumps(count(part).to_value()))))
    whole = count([outcome for part in parts for outcome in part])
    assert merged.to_value() == whole.to_value()
    assert list(merged.gaps()) == []
    assert merged.due == sum(map(len, parts))


def test_what_is_never_sent_is_infinitely_late() -> None:
    found = count([("COMPLETE", 0.01), ("COMPLETE", 0.06), ("dropped", 0)])
    assert (found.due, found.sent, found.late, found.dropped) == (3, 2, 1, 1)
    assert found.lateness.quantiles([50, 100]) == [pytest.approx(0.06, rel=1e-3), math.inf]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("due", "3 arrivals were due, but 2 were sent or dropped: 1 are not accounted for."),
        ("sent", "2 tasks were sent, but 1 have an outcome: 1 are not accounted for."),
        ("acknowledged", "2 tasks were acknowledged, but 1 are terminal or lost: 1 are not accounted for."),
    ],
)
def test_a_count_that_does_not_add_up_is_named(name: str, sentence: str) -> None:
    found = count([("COMPLETE", 0), ("dropped", 0)])
    setattr(found, name, getattr(found, name) + 1)
    assert sentence in list(found.gaps())


@pytest.mark.parametrize("broken", [{"due": None}, {"terminal": 5}, {"lateness": {}}, {"late": "x"}])
def test_a_broken_message_is_refused_in_one_sentence(broken: dict[str, object]) -> None:
    with pytest.raises(HarnessError, match="run the same version in all load processes"):
        Accounting.from_value({**Accounting().to_value(), **broken})
