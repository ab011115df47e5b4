"""The gauge of the machine: how much of a window it took away, and when that excuses an excess."""

from __future__ import annotations

import pytest

from harness.history.machine import lost_to_machine, machine_samples, slowness
from tests.support.histories import HistoryBuilder

SECOND = 1_000_000_000


def lost(builder: HistoryBuilder, start: float, end: float) -> float:
    found = slowness(builder.history, round(start * SECOND), round(end * SECOND))
    assert found is not None
    return found.lost


def test_a_quiet_machine_takes_nothing_away() -> None:
    assert lost(HistoryBuilder().slow_machine(0, 10, spin=1.3, delay=0.02), 2, 8) == 0


def test_work_that_takes_three_times_as_long_takes_two_thirds_of_the_window_away() -> None:
    assert lost(HistoryBuilder().slow_machine(0, 10, spin=3.0), 2, 8) == pytest.approx(4.0)


def test_only_the_part_inside_the_window_counts() -> None:
    builder = HistoryBuilder().slow_machine(0, 4, spin=2.0).slow_machine(4.5, 10)
    assert lost(builder, 3, 8) == pytest.approx(0.5)
    assert lost(builder, 5, 8) == 0


def test_the_first_sample_after_the_end_tells_of_the_last_part() -> None:
    assert lost(HistoryBuilder().at(1).machine().at(8).machine(delay=6.5), 2, 7) == pytest.approx(5.0)


def test_a_sleep_that_woke_late_takes_its_delay_away_and_never_more_than_the_time_itself() -> None:
    builder = HistoryBuilder().slow_machine(0, 2).at(5).machine(delay=2.4).at(5.5).machine()
    assert lost(builder, 1, 5.5) == pytest.approx(2.4)
    assert lost(builder, 4.5, 5) == pytest.approx(0.5)


def test_a_time_without_any_sample_is_not_known() -> None:
    assert slowness(HistoryBuilder().history, 0, SECOND) is None
    assert slowness(HistoryBuilder().at(1).machine().history, 2 * SECOND, 3 * SECOND) is None


@pytest.mark.parametrize(("excess", "excused"), [(1.0, True), (7.9, True), (8.1, False), (60.0, False)])
def test_an_excess_is_excused_if_the_machine_took_away_at_least_half_of_it(
    excess: float, excused: bool
) -> None:
    history = HistoryBuilder().slow_machine(0, 10, spin=3.0).history
    found = lost_to_machine(history, 2 * SECOND, 8 * SECOND, excess=excess)
    assert (found is not None) is excused


def test_the_sentence_has_the_figures() -> None:
    builder = HistoryBuilder().slow_machine(0, 10, spin=3.0, delay=0.03).at(5.2).machine(load=7.0)
    assert lost_to_machine(builder.history, 2 * SECOND, 8 * SECOND, excess=1.0) == (
        "this machine took away about 3.9 s of 6.0 s (work up to 3.0 times slower, sleeps up to 30 ms late, load 7.0)"
    )


def test_samples_are_those_of_the_gauge_and_a_value_that_is_no_number_counts_as_quiet() -> None:
    builder = HistoryBuilder().machine(spin=2.0)
    builder.op("worker-1", builder.operations[0].type, "machine", spin=9.0)
    builder.op("machine", builder.operations[0].type, "machine", spin="slow", delay=None)
    assert [(one.spin, one.delay) for one in machine_samples(builder.history)] == [(2.0, 0.0), (1.0, 0.0)]
