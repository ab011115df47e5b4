"""The locustfile of the open arrivals."""

from __future__ import annotations

from locust import task

from harness.load import OpenShape, QueueUser, hold
from loadtests import stall
from loadtests.work import TASK_NAME

thresholds = stall.THRESHOLDS


class OpenModel(QueueUser):
    """Enqueues a task for each due arrival."""

    @task
    def work(self) -> None:
        """Enqueue one task."""
        self.enqueue(TASK_NAME, stall.WORK)


class Steady(OpenShape):
    """Evenly spaced arrivals until --run-time."""

    pacing = "even"
    stages = hold(stall.RATE)
