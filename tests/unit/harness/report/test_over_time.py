"""Figures over time: rates, latencies, queue depth, runs in flight, and the load of the machine."""

import pytest

from harness.report.over_time import all_strips, by_slice, levels, over_time
from harness.report.picture_data import picture_data
from tests.support.report_samples import FAIL, INFO, INVOKE, OK, SampleHistory, kill_history


def sample() -> SampleHistory:
    """Task 1 waits 2 s and runs 1 s, task 2 is refused, task 3 never starts; the run lasts 10 s."""
    found = SampleHistory()
    found.add(0, "client", INVOKE, "enqueue", task=1)
    found.add(1, "client", OK, "enqueue", task=1)
    found.add(1, "client", INVOKE, "enqueue", task=2)
    found.add(2, "client", FAIL, "enqueue", task=2)
    found.add(2, "client", INVOKE, "enqueue", task=3)
    found.add(2, "client", OK, "enqueue", task=3)
    found.add(3, "worker-1", INVOKE, "run", task=1)
    found.add(4, "worker-1", OK, "run", task=1)
    found.add(10, "worker-1", INFO, "hello", pid=1)
    return found


def strips(found: SampleHistory) -> dict[str, list[float | None]]:
    return {strip.name: list(strip.area) for strip in all_strips(picture_data(found.history()), 1.0)}


def test_the_depth_of_the_queue_is_what_is_acknowledged_and_not_started() -> None:
    assert strips(sample())["queue depth"] == [0, 1, 2, 2, 1, 1, 1, 1, 1, 1]


def test_runs_are_in_flight_from_their_begin_to_their_end() -> None:
    assert strips(sample())["in flight"] == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_latencies_count_from_the_acknowledgement_in_the_slice_of_that_time() -> None:
    found = strips(sample())
    assert found["start latency"] == [None, 2.0, *[None] * 8]
    assert found["end to end"] == [None, 3.0, *[None] * 8]


def test_latencies_count_from_the_intended_time_if_the_client_recorded_it() -> None:
    late = SampleHistory()
    late.add(0, "client", INFO, "note")
    late.add(8, "client", INVOKE, "enqueue", task=1, intended=int(1_002 * 1e9))
    late.add(9, "client", OK, "enqueue", task=1)
    late.add(9.5, "worker-1", INVOKE, "run", task=1)
    late.add(10, "worker-1", OK, "run", task=1)
    assert strips(late)["start latency"] == [None, None, 7.5, *[None] * 7]


def test_a_run_that_begins_before_the_acknowledgement_does_not_make_the_queue_negative() -> None:
    early = SampleHistory()
    early.add(0, "client", INVOKE, "enqueue", task=1)
    early.add(1, "worker-1", INVOKE, "run", task=1)
    early.add(2, "client", OK, "enqueue", task=1)
    early.add(4, "worker-1", OK, "run", task=1)
    found = strips(early)
    assert min(value or 0 for value in found["queue depth"]) == 0
    assert found["start latency"] == [None, None, 0.0, None]


def test_a_killed_run_is_in_flight_until_the_kill() -> None:
    killed = SampleHistory()
    killed.add(0, "worker-1", INVOKE, "run", task=1)
    killed.add(2, "nemesis", INFO, "kill-worker", fault=1, phase="inject", kind="kill", pids=[1])
    killed.add(5, "worker-2", INFO, "hello", pid=2)
    assert strips(killed)["in flight"] == [1, 1, 1, 0, 0]


def test_the_load_of_the_machine_is_drawn_only_if_it_is_recorded() -> None:
    loaded = sample()
    assert not [name for name in strips(loaded) if name.startswith("machine")]
    for at, load in ((1, 0.5), (1.5, 2.0), (3, 1.0)):
        loaded.add(at, "machine", INFO, "machine", load=load, spin=1.25, delay=load / 10)
    found = strips(loaded)
    assert found["machine load"][:4] == [None, 2.0, None, 1.0]
    assert found["machine spin"][1] == 1.25
    assert found["machine delay"][1] == 0.2
    texts = [strip.text for strip in all_strips(picture_data(loaded.history()), 1.0)][-3:]
    assert texts == ["max 2", "max 1.25 times", "max 200 ms"]


def test_the_memory_of_the_largest_process_is_drawn_only_if_it_is_recorded() -> None:
    sampled = sample()
    assert "memory" not in strips(sampled)
    for at, size in ((1, 50), (1.5, 60), (3, 55)):
        sizes = {"1": size * 2**20, "2": 2**20}
        sampled.add(at, "memory", INFO, "memory", pools={"pool-1": sizes, "pool-2": {"3": 2**20}})
    assert strips(sampled)["memory"][:4] == [None, 60 * 2**20, None, 55 * 2**20]
    [strip] = [one for one in all_strips(picture_data(sampled.history()), 1.0) if one.name == "memory"]
    assert strip.text == "max 60 MiB"


def test_levels_hold_the_most_that_was_open_in_a_slice() -> None:
    assert levels([(0.1, 0.2), (0.15, 3.5), (5.5, None)], seconds=7, width=1) == [2, 1, 1, 1, 0, 1, 1]
    assert levels([], seconds=2, width=1) == [0, 0]
    assert levels([(0.0, 1.0), (1.0, 2.0)], seconds=3, width=3) == [1]  # an end counts before a begin


def test_samples_outside_of_the_run_count_in_its_first_or_last_slice() -> None:
    assert by_slice([(-1, 5), (9, 1), (9, 0)], seconds=2, width=1) == [[5], [0, 1]]


def test_the_picture_shades_every_fault_and_names_every_strip() -> None:
    data = picture_data(kill_history(kills=3)[0])
    picture = over_time(data)
    assert picture.count('class="fault-band"') == len(data.faults) == 3
    for name in (
        "acknowledged",
        "started",
        "completed",
        "start latency",
        "end to end",
        "queue depth",
        "in flight",
    ):
        assert f">{name}</text>" in picture


@pytest.mark.parametrize("tasks", [0, 1])
def test_a_history_with_next_to_nothing_in_it_has_a_picture(tasks: int) -> None:
    empty = SampleHistory()
    for task in range(tasks):
        empty.add(0, "client", INVOKE, "enqueue", task=task)
    assert "Figures over time" in over_time(picture_data(empty.history()))
