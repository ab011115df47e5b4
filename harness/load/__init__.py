"""Load for queues in plain Locust idiom: shapes, open arrivals, latencies, thresholds, and a verdict.

from harness.load import QueueUser, OpenShape, hold, spike

class Chat(QueueUser):
    @task
    def ask(self): self.enqueue("answer", Question(text="why?"))

class Day(OpenShape): stages = [hold(20, "1m"), spike(600, "10s")]

thresholds = {"TASK answer": "p95 < 2s, lost = 0"}

Importing Locust patches the process, so its parts are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.load.stages import burst, diurnal, hold, ramp, repeat, replay, spike, steps

if TYPE_CHECKING:
    from harness.load.shape import OpenShape
    from harness.load.users import ApiUser, QueueUser

__all__ = [
    "ApiUser",
    "OpenShape",
    "QueueUser",
    "burst",
    "diurnal",
    "hold",
    "ramp",
    "repeat",
    "replay",
    "spike",
    "steps",
]


def __getattr__(name: str) -> Any:
    """The parts that need Locust; the first use also adds the options and listeners of a load to Locust."""
    if name not in {"ApiUser", "OpenShape", "QueueUser"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.load import locust_events, shape, users

    assert locust_events.events
    return getattr(shape if name == "OpenShape" else users, name)
