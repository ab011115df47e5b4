"""The memory of a process is compared with its own a while before; what a fault makes it take does not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.checkers import memory
from harness.checkers.base import Verdict, check_safe
from harness.history import InjectionKind
from harness.history.promises import Loss
from tests.support.histories import INFO, HistoryBuilder

_MEGABYTE = 2**20


def sampled(*, until: float = 100.0, grows: Callable[[float], float] = lambda at: 0.0) -> HistoryBuilder:
    """Each second, a parent of 60 MiB and a worker of 50 MiB that has `grows` more at a moment."""
    built = HistoryBuilder()
    for second in range(round(until) + 1):
        sizes = {"1": 60 * _MEGABYTE, "11": round((50 + grows(second)) * _MEGABYTE)}
        built.at(second).op("memory", INFO, "memory", pools={"pool-1": sizes})
    return built


def verdict_of(built: HistoryBuilder) -> Verdict:
    return memory()(built.history).verdict


def test_a_process_that_stays_as_it_is_is_valid_with_its_figures() -> None:
    found = memory()(sampled(grows=lambda at: 2.0 if at > 50 else 0.0).history)
    assert found.verdict is Verdict.VALID
    assert found.figures == {
        "processes": 2,
        "longest": 100.0,
        "grown_most_bytes": 2 * _MEGABYTE,
        "grown_median_bytes": _MEGABYTE,
        "largest_bytes": 60 * _MEGABYTE,
    }
    assert found.summary == (
        "0 of 2 processes that lived for 60 s or more grew; "
        "most: process 11 of pool-1, 50.0 to 52.0 MiB in 100 s"
    )


def test_a_process_that_keeps_what_it_has_done_is_invalid_and_named() -> None:
    found = memory()(
        sampled(grows=lambda at: at / 6).history
    )  # 10 MiB from the middle of a fifth to that of the last
    assert found.verdict is Verdict.INVALID
    assert [one["why"] for one in found.counterexamples] == [
        "process 11 of pool-1, 54.9 to 65.0 MiB in 100 s"
    ]


@pytest.mark.parametrize(("grown", "verdict"), [(4.4, Verdict.VALID), (4.6, Verdict.INVALID)])
def test_the_bound_is_a_twentieth_and_two_megabytes(grown: float, verdict: Verdict) -> None:
    assert verdict_of(sampled(grows=lambda at: grown if at >= 60 else 0.0)) is verdict


def test_the_first_fifth_of_a_life_does_not_count() -> None:
    assert verdict_of(sampled(grows=lambda at: 0.0 if at < 20 else 30.0)) is Verdict.VALID


def test_a_moment_with_more_memory_is_no_growth() -> None:
    assert verdict_of(sampled(grows=lambda at: 64.0 if at % 10 == 0 else 0.0)) is Verdict.VALID


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("exhaust-memory", {"kind": InjectionKind.PAUSE, "loss": Loss.WORKER_OUT_OF_MEMORY}),
        ("kill-leaking-worker", {"kind": InjectionKind.KILL}),
    ],
)
def test_what_a_fault_lets_a_handler_leak_does_not_count(fault: str, given: dict[str, Any]) -> None:
    leaking = sampled(grows=lambda at: 0.0 if at < 70 else 64.0)
    assert verdict_of(HistoryBuilder.of(leaking)) is Verdict.INVALID
    assert verdict_of(leaking.at(70.0).injected(fault, pids=[11], **given)) is Verdict.VALID


def test_a_pause_of_its_process_excuses_no_growth() -> None:
    paused = sampled(grows=lambda at: 0.0 if at < 70 else 64.0).at(70.0)
    assert verdict_of(paused.injected("pause-worker", pids=[11])) is Verdict.INVALID


@pytest.mark.parametrize("until", [59.0, -1.0])
def test_without_a_process_that_lived_long_enough_it_is_unknown(until: float) -> None:
    found = memory()(sampled(until=until).history)
    assert (found.verdict, found.summary) == (Verdict.UNKNOWN, "no process of a pool was seen for 60 s")


def test_the_same_id_in_another_pool_is_another_process() -> None:
    built = sampled(until=40.0)
    for second in range(41, 80):
        built.at(second).op("memory", INFO, "memory", pools={"pool-2": {"11": 200 * _MEGABYTE}})
    assert verdict_of(built) is Verdict.UNKNOWN


def test_samples_that_cannot_be_read_are_unknown() -> None:
    built = sampled()
    built.at(50.0).op("memory", INFO, "memory", pools={"pool-1": {"eleven": 5}})
    assert check_safe(memory(), built.history).verdict is Verdict.UNKNOWN
