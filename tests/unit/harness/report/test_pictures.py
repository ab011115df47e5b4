"""The data of the pictures: scales, lanes, lives of workers, density."""

import re
from itertools import pairwise

import pytest

from harness.history import History
from harness.history.figures import counted
from harness.report.density import active
from harness.report.lanes import lanes, pack, place
from harness.report.over_time import rates
from harness.report.picture_data import Bar, BarOutcome, picture_data
from harness.report.scales import Scale, number_text, round_step, seconds_text, ticks
from harness.report.timeline import timeline
from tests.support.histories import HistoryBuilder
from tests.support.report_samples import INFO, INVOKE, OK, SampleHistory, kill_history, sigterm_history


def bar(start: float, end: float, process: str = "worker-1") -> Bar:
    return Bar(process=process, task=1, start=start, end=end, outcome=BarOutcome.OK)


def test_a_run_that_a_kill_kept_from_beginning_has_no_bar_and_counts() -> None:
    builder = HistoryBuilder().enqueued(1).killed(12).ran(1, by=13, fence=2)
    builder.logged(1, ("queued", 0, 0), ("running", 1, 0), ("running", 2, 0), ("complete", 2, 1))
    data = picture_data(builder.history)
    assert (len(data.runs), data.resumptions, data.recovery["max"]) == (1, (), 0.001)


def test_a_scale_maps_both_ends_and_survives_an_empty_range() -> None:
    scale = Scale(low=0, high=4, start=100, stop=300)
    assert [scale(0), scale(1), scale(4)] == [100, 150, 300]
    assert Scale(low=2, high=2, start=5, stop=9)(2) == 5


def test_tick_marks_are_round_and_few() -> None:
    assert ticks(3.3, 12) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert ticks(0) == [0.0]
    assert [round_step(span, 10) for span in (0.9, 10, 11, 42)] == [0.1, 1, 2, 5]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "—"),
        (0.0004, "0 ms"),
        (0.84, "840 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (48, "48.0 s"),
        (200.4, "3 min 20 s"),
    ],
)
def test_a_length_of_time_reads_well(value: float | None, expected: str) -> None:
    assert seconds_text(value) == expected


def test_numbers_and_counts_read_well() -> None:
    assert [number_text(n) for n in (12, 0.412, 1200.0, 99.95, 250.4)] == [
        "12",
        "0.412",
        "1,200",
        "100",
        "250",
    ]
    assert [counted(1, "process"), counted(2, "process"), counted(0, "fault")] == [
        "1 process",
        "2 processes",
        "0 faults",
    ]
    assert [counted(n, "activity", "have") for n in (1, 1200)] == ["1 activity has", "1,200 activities have"]
    assert [counted(n, "lock key", "break") for n in (1, 2)] == ["1 lock key breaks", "2 lock keys break"]


def test_bars_in_a_row_never_overlap_and_free_rows_are_used_again() -> None:
    rows = pack([bar(0, 2), bar(1, 3), bar(2, 4), bar(3, 5)])
    assert [[(b.start, b.end) for b in row] for row in rows] == [[(0, 2), (2, 4)], [(1, 3), (3, 5)]]
    assert pack([]) == ((),)


def test_labels_move_to_the_next_row_and_are_left_out_when_all_are_full() -> None:
    assert place([(0, 10), (5, 15), (8, 18), (20, 30)], rows=2) == [0, 1, None, 0]


def test_a_run_without_an_outcome_ends_where_its_worker_was_killed() -> None:
    history, lost = kill_history(lose=True, seed=3)
    data = picture_data(history)
    cut = [b for b in data.runs if not b.recorded]
    assert {b.task for b in cut} == set(lost)
    assert all(b.killed_by is not None and b.end == pytest.approx(b.killed_by.start) for b in cut)


def test_a_run_without_an_outcome_and_without_a_kill_reaches_to_the_end() -> None:
    sample = SampleHistory()
    sample.add(0, "worker-1", INFO, "hello", pid=1)
    sample.add(1, "worker-1", INVOKE, "run", task=1, pid=1)
    sample.add(5, "client", INVOKE, "enqueue", task=2)
    (run,) = picture_data(sample.history()).runs
    assert (run.start, run.end, run.killed_by, run.recorded) == (1, 5, None, False)


def test_the_witnesses_of_the_end_do_not_stretch_the_time_axis() -> None:
    sample = SampleHistory()
    sample.add(0, "client", INVOKE, "enqueue", task=1)
    sample.add(2, "client", OK, "enqueue", task=1)
    sample.add(9, "postgres", INFO, "record", task=1, status="queued")
    assert picture_data(sample.history()).seconds == 2


def test_a_replacement_continues_the_lane_of_the_worker_that_it_replaced() -> None:
    data = picture_data(kill_history(workers=3, kills=3)[0])
    found = lanes(data.workers, data.runs)
    assert len(found) == 3
    assert sum(len(lane.workers) for lane in found) == len(data.workers) == 6
    for lane in found:
        assert all(a.gone and a.ended <= b.first_seen for a, b in pairwise(lane.workers))


def test_a_slot_is_one_row_whatever_process_fills_it() -> None:
    data = picture_data(kill_history(tasks=400, workers=3, concurrency=4, kills=3)[0])
    found = lanes(data.workers, data.runs)
    for lane in found:
        assert len(lane.slots) == 4  # not four rows for each of its processes
        assert len({bar.process for bar in lane.slots[0]}) == len(lane.workers) == 2
        for slot in lane.slots:
            assert all(a.end <= b.start for a, b in pairwise(slot))
    drawn = [id(bar) for lane in found for slot in lane.slots for bar in slot]
    assert sorted(drawn) == sorted(map(id, data.runs))
    picture = timeline(data)
    assert re.findall(r">(worker \d)</text>", picture) == ["worker 1", "worker 2", "worker 3"]
    assert picture.count('class="birth"') == 6  # the begin of every process is visible


def test_a_worker_without_runs_is_not_taken_for_replaced() -> None:
    sample = SampleHistory()
    sample.add(0, "worker-1", INFO, "hello", pid=1)
    sample.add(5, "worker-2", INFO, "hello", pid=2)
    data = picture_data(sample.history())
    assert [len(lane.workers) for lane in lanes(data.workers, data.runs)] == [1, 1]


def test_workers_of_a_stopped_pool_end_with_it_and_are_not_called_killed() -> None:
    data = picture_data(sigterm_history())
    lives = {worker.process: worker for worker in data.workers}
    (gone,) = data.exits
    assert (gone.pool, gone.code, gone.pid) == ("pool-1", 0, 500)
    for name in ("worker-501", "worker-503"):  # a busy one and an idle one
        assert lives[name].ended == pytest.approx(gone.at)
        assert lives[name].killed_by is None
    assert not lives["worker-601"].gone
    assert [fault.kind for fault in data.faults] == ["stop"]


def test_density_is_the_mean_number_of_active_runs() -> None:
    assert active([bar(0, 2), bar(1, 2), bar(3.5, 4)], seconds=4, slices=4) == pytest.approx([1, 2, 0, 0.5])


def test_rates_count_every_event_once_the_last_moment_included() -> None:
    assert rates([0, 0.1, 0.6, 1.0], seconds=1.0, width=0.5) == [4, 4]


def test_an_empty_history_still_gives_a_picture() -> None:
    data = picture_data(History.of([]))
    assert data.runs == ()
    assert data.seconds > 0
