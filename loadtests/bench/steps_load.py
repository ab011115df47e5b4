"""The locustfile of the benchmark `generator-rate`: steps of a rate, each with a task name of its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import locust

from harness.load import OpenShape, QueueUser, steps
from loadtests.bench.app import STEP_RATES, Nothing, step_task
from loadtests.bench.generator_rate import ENV_CORE, ENV_SECONDS, ENV_SPENT, STEP_SECONDS

if os.environ.get(ENV_CORE):
    os.sched_setaffinity(0, {int(os.environ[ENV_CORE])})

thresholds = {"LATE": "dropped = 0"}
# CPU seconds of this process at the first arrival of each step, and at the end.
_spent: list[float] = []


class RisingRate(OpenShape):
    """A rate that rises until the generator is out of step."""

    until = "LATE p99 > 1s"
    stages = steps(
        STEP_RATES.start,
        STEP_RATES.step,
        every=float(os.environ.get(ENV_SECONDS, STEP_SECONDS)),
        number=len(STEP_RATES),
    )


class StepUser(QueueUser):
    """Enqueues tasks that do nothing."""

    @locust.task
    def work(self) -> None:
        """Enqueue one task, with the name of its step."""
        arrival = self.arrival
        assert arrival is not None, "the shape is open"
        if arrival.number and arrival.stage == len(_spent):
            _spent.append(time.process_time())
        self.enqueue(step_task(STEP_RATES[arrival.stage]), Nothing(number=arrival.number))


def _stopping(**_: Any) -> None:
    _spent.append(time.process_time())
    Path(os.environ[ENV_SPENT]).write_text(json.dumps(_spent), "utf-8")


# Locust's events are untyped.
events: Any = locust.events
events.test_stopping.add_listener(_stopping)
