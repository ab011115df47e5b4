from __future__ import annotations

import itertools

import pytest

from harness.checkers import standard
from harness.checkers.base import REPORTED, CheckResult, Verdict, check_all, check_safe
from harness.errors import HarnessError
from harness.history import History
from tests.support.histories import HistoryBuilder, completed

VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN


def test_no_verdict_at_all_is_unknown() -> None:
    assert Verdict.combine([]) is UNKNOWN


def test_one_invalid_outweighs_everything_and_one_unknown_outweighs_valid() -> None:
    for verdicts in itertools.product((VALID, INVALID, UNKNOWN), repeat=3):
        expected = INVALID if INVALID in verdicts else UNKNOWN if UNKNOWN in verdicts else VALID
        assert Verdict.combine(iter(verdicts)) is expected


@pytest.mark.parametrize(("verdict", "code"), [(VALID, 0), (INVALID, 1), (UNKNOWN, 2)])
def test_the_exit_code_follows_the_verdict(verdict: Verdict, code: int) -> None:
    assert verdict.exit_code == code


def test_a_checker_that_crashes_is_unknown_and_shows_its_traceback() -> None:
    def broken(history: History) -> CheckResult:
        raise KeyError("fence")

    result = check_safe(broken, History.of([]))
    assert result.verdict is UNKNOWN
    assert "KeyError: 'fence'" in result.summary
    assert "in broken" in result.counterexamples[0]["traceback"]


def test_an_interrupt_is_not_mistaken_for_a_crash_of_the_checker() -> None:
    def interrupted(history: History) -> CheckResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_safe(interrupted, History.of([]))


def test_every_checker_runs_although_one_crashes_and_the_order_stays() -> None:
    def fine(history: History) -> CheckResult:
        return CheckResult(verdict=VALID, summary="fine")

    def broken(history: History) -> CheckResult:
        raise RuntimeError("no")

    results = check_all({"b": broken, "a": fine, "c": fine}, History.of([]))
    assert [(name, result.verdict) for name, result in results.items()] == [
        ("b", UNKNOWN),
        ("a", VALID),
        ("c", VALID),
    ]


def test_a_verdict_without_a_figure_that_reports_show_is_unknown_and_says_which_one() -> None:
    def bare(history: History) -> CheckResult:
        return CheckResult(verdict=VALID, summary="fine", figures={"lost": 0})

    results = check_all({"delivery": bare, "mine": bare}, History.of([]))
    assert results["mine"].verdict is VALID
    assert results["delivery"].verdict is UNKNOWN
    assert "gave VALID without the figure 'duplicated'" in results["delivery"].summary


def test_a_figure_may_be_none_and_an_unknown_result_need_not_have_any() -> None:
    assert CheckResult(verdict=VALID, summary="", figures={"p99": None}).figure("p99") is None
    assert CheckResult(verdict=UNKNOWN, summary="").figure("p99") is None
    with pytest.raises(HarnessError, match="'p99'"):
        CheckResult(verdict=INVALID, summary="").figure("p99")


def test_every_checker_that_reports_show_produces_the_figures_that_they_show() -> None:
    history = (
        completed(HistoryBuilder().enqueued(1), 1).began(2, by=12).killed(12).ran(2, by=13, fence=2).history
    )
    results = check_all(standard(), history)
    assert {results[name].verdict for name in REPORTED} <= {VALID, INVALID}
    assert all(set(names) <= results[name].figures.keys() for name, names in REPORTED.items())
