"""Gauges are what counters grow in a second; a server that restarts, refuses or hangs costs its own gauges only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from harness.environments.redis_connection import RedisFailure
from harness.llm.endpoint_process import EndpointProcess
from harness.load import gauges
from harness.load.endpoint_gauges import EndpointSampler
from harness.load.gauges import LoadGauges
from harness.load.resources import (
    NOT_SAMPLED,
    WAL,
    Resource,
    Sample,
    Sampled,
    amount_text,
    per_task_text,
    resources,
)
from harness.load.series import LoadSeries

COMMANDS, MEMORY, CPU = "Redis commands", "Redis memory", "Redis CPU"


class Samples:
    """Gives prepared samples, one for each question, and the last one again and again."""

    names: Sequence[str] = (COMMANDS, MEMORY)

    def __init__(self, *samples: Sample | Exception) -> None:
        self._samples = iter(samples)
        self._last: Sample | Exception = Sample()
        self.asked = self.closed = 0

    def sample(self) -> Sample:
        self.asked += 1
        self._last = next(self._samples, self._last)
        if isinstance(self._last, Exception):
            raise self._last
        return self._last

    def close(self) -> None:
        self.closed += 1


class Silent(Samples):
    """A server that does not answer until the test ends."""

    answers = threading.Event()

    def sample(self) -> Sample:
        self.answers.wait(30)
        return Sample()


def total(number: float, memory: float = 0.0) -> Sample:
    return Sample(totals={COMMANDS: number}, levels={MEMORY: memory})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are taken every hundredth of a second."""
    monkeypatch.setattr(gauges, "PERIOD_SECONDS", 0.01)


def figures(sampled: Sampled, acknowledged: int = 10) -> dict[str, Resource]:
    return {one.name: one for one in resources(sampled, sampled.series, acknowledged)}


def run(found: LoadGauges, *samplers: Samples, asked: int, eventually: Callable[..., object]) -> Sampled:
    found.start()
    found.start()
    eventually(lambda: all(one.asked >= asked for one in samplers), 30)
    return found.sampled()


def test_a_gauge_is_what_a_counter_grows_in_a_second_and_its_total_counts_for_each_task(
    eventually: Callable[..., object],
) -> None:
    samples = Samples(total(1000, 5), total(1040, 7), total(1040, 6))
    sampled = run(LoadGauges([samples], lambda: 3.0), samples, asked=4, eventually=eventually)
    found = figures(sampled)
    assert found[COMMANDS].per_task == 4
    assert (found[MEMORY].most, found[MEMORY].per_task) == (7, None)
    assert (found[COMMANDS].most or 0) > 40, "40 in a hundredth of a second"
    assert samples.closed


def test_before_the_load_begins_nothing_counts_and_the_drain_counts_for_the_totals(
    eventually: Callable[..., object],
) -> None:
    samples = Samples(total(0), total(500), total(600), total(600))
    begun = [0.0]
    found = LoadGauges([samples], lambda: begun[0])
    found.start()
    eventually(lambda: samples.asked >= 4, 30)
    found.note_depth(1, 1)
    found.end()
    assert not found.series.slices
    samples._last = total(630)
    assert found.sampled().totals == {COMMANDS: 30}


def test_a_server_that_begins_anew_or_cannot_be_read_for_a_while_is_sampled_again(
    eventually: Callable[..., object],
) -> None:
    refused = RedisFailure("NOPERM no permission. redis://:s3cret@host/0")
    samples = Samples(total(10), total(30), refused, total(5), total(9))
    sampled = run(LoadGauges([samples], lambda: 1.0), samples, asked=5, eventually=eventually)
    assert sampled.totals == {COMMANDS: 24}
    assert sampled.notes[COMMANDS] == "it could not be read: NOPERM no permission. redis://:***@host/0"


def test_a_counter_of_another_epoch_began_at_nothing_also_if_it_is_higher() -> None:
    sampled = Sampled()
    for number, epoch in ((100, "a"), (130, "a"), (140, "b"), (150, "b")):
        sampled.add(Sample(totals={COMMANDS: number}, epochs={COMMANDS: epoch}), at=0.0, second=None)
    assert sampled.totals == {COMMANDS: 30 + 140 + 10}


def test_a_total_that_is_missing_for_a_while_grows_over_the_gap() -> None:
    sampled = Sampled()
    for at, sample in enumerate((total(10), Sample(), total(50))):
        sampled.add(sample, at=float(at), second=float(at + 1))
    assert sampled.totals == {COMMANDS: 40}
    assert sampled.series.slices[3].gauges[COMMANDS] == 20


def test_a_server_that_does_not_answer_delays_neither_the_others_nor_the_end(
    eventually: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "LAST_SECONDS", 0.1)
    silent, samples = Silent(), Samples(total(0), total(1))
    silent.names = (WAL,)
    try:
        sampled = run(LoadGauges([silent, samples], lambda: 1.0), samples, asked=3, eventually=eventually)
    finally:
        silent.answers.set()
    found = figures(sampled)
    assert found[COMMANDS].per_task == 0.1
    assert (found[WAL].most, found[WAL].why) == (
        None,
        "it could not be read at the end of the load: no answer",
    )
    assert found["workers"].why == NOT_SAMPLED


def test_the_mean_of_a_soak_is_that_of_its_samples_and_not_of_its_highest() -> None:
    sampled = Sampled()
    for second in range(4000):
        sampled.gauge(second, MEMORY, second % 2)
    assert sampled.series.width > 1
    found = figures(sampled)[MEMORY]
    assert (found.mean, found.most) == (0.5, 1)


def test_no_thread_is_left_when_a_load_has_ended(
    eventually: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "PERIOD_SECONDS", 30.0)
    before = set(threading.enumerate())
    samples = Samples(total(0))
    found = LoadGauges([samples], lambda: 1.0)
    found.start()
    eventually(lambda: samples.asked, 30)
    found.end()
    eventually(lambda: set(threading.enumerate()) <= before, 10)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "—"),
        (84.96, "%", "85 %"),
        (999, "bytes", "999 B"),
        (143_200, "bytes/s", "143 kB/s"),
        (2.5e12, "bytes", "2.5 TB"),
        (1754.2, "/s", "1,754/s"),
        (0.0053, "seconds", "5.3 ms"),
        (2.0, "seconds", "2.00 s"),
        (14, "", "14"),
    ],
)
def test_amounts_have_their_unit(value: float | None, unit: str, text: str) -> None:
    assert amount_text(value, unit) == text


def test_the_total_of_each_task_has_the_unit_of_what_is_counted() -> None:
    assert [per_task_text(name, 0.05) for name in (WAL, CPU, "another")] == ["0.05 B", "50 ms", "0.05"]


def test_an_endpoint_on_another_machine_has_no_gauges_and_the_reason() -> None:
    own = EndpointProcess.own()
    here, elsewhere = EndpointSampler(own), EndpointSampler(replace(own, clock="other/"))
    assert EndpointSampler(replace(own, started=1.0)).sample().levels == {}, "another process with its id"
    assert here.sample().levels["LLM endpoint memory"] > 10**6
    sample = elsewhere.sample()
    assert (sample.levels, sample.totals) == ({}, {})
    notes = Sampled(notes=sample.notes)
    found = {one.name: one.why for one in resources(notes, LoadSeries(), 1)}
    assert found["LLM endpoint CPU"] == "the process of the endpoint is not on this machine"
    assert "LLM endpoint CPU" not in {one.name for one in resources(Sampled(), LoadSeries(), 1)}
