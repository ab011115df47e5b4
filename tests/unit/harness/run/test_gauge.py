"""The gauge of the machine: what it records, and that it sees a busy machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.history import History, Recorder
from harness.history.machine import QUIET_SPIN, MachineSample, machine_samples
from harness.run.gauge import MachineGauge
from tests.support.busy_core import busy_cores


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with closing(Recorder(tmp_path / "machine.jsonl", process="machine")) as recorder:
        yield recorder


def samples(recorder: Recorder) -> list[MachineSample]:
    return list(machine_samples(History.load(recorder.path)))


def sampled(recorder: Recorder, number: int) -> list[MachineSample]:
    """The samples of a gauge that runs until there are so many."""
    enough = threading.Event()
    with MachineGauge(recorder):
        while len(found := samples(recorder)) < number:
            enough.wait(0.1)
    return found


def test_it_records_load_spin_and_delay(recorder: Recorder) -> None:
    [first, second, *_] = sampled(recorder, 2)
    assert first.time < second.time
    assert first.spin >= 1
    assert first.delay >= 0
    assert first.load >= 0


def test_it_ends_with_its_context_and_records_nothing_more(recorder: Recorder) -> None:
    sampled(recorder, 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "gauge"]


def test_it_sees_processes_that_want_all_cores(recorder: Recorder) -> None:
    with busy_cores(4 * (os.cpu_count() or 1)):
        found = sampled(recorder, 8)
    assert max(sample.spin for sample in found) > QUIET_SPIN


def test_it_counts_what_it_recorded_as_taken_away(recorder: Recorder) -> None:
    with busy_cores(4 * (os.cpu_count() or 1)), MachineGauge(recorder) as gauge:
        while len(samples(recorder)) < 8:
            threading.Event().wait(0.1)
        assert gauge.lost > 0


def test_a_recorder_that_cannot_write_ends_it_quietly(
    recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    class Full(Recorder):
        def append(self, operation: object) -> None:
            raise OSError("no space left")

    with closing(Full(recorder.path, process="machine")) as full:
        gauge = MachineGauge(full)
        with gauge:
            gauge._thread.join()
    assert capfd.readouterr().err == ""
