"""The locustfile of the users of a closed model."""

from __future__ import annotations

from locust import constant_throughput, task

from harness.load import QueueUser
from loadtests import stall
from loadtests.work import TASK_NAME

thresholds = stall.THRESHOLDS


class ClosedModel(QueueUser):
    """Waits for the end of each task before the next one, which it sends at its time if that has not passed yet."""

    wait_time = constant_throughput(stall.RATE / stall.USERS)

    @task
    def work(self) -> None:
        """Enqueue one task and wait for its end."""
        if sent := self.enqueue(TASK_NAME, stall.WORK):
            self.wait_for(sent)
