"""The figures of a load test: a pure reading of the history of its clients and of the final statuses in Postgres."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from harness.environments.deadlocks import Deadlocks
from harness.history import History, OperationType
from harness.history.figures import seconds
from harness.history.statuses import COMPLETE

ABSENT = "absent"
_ENOUGH = 0.8
"""The share of its duration that a load has to last for the figures to count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Incomplete:
    """A task that was acknowledged and is not COMPLETE; `status` is its activity's, or `absent`."""

    task: str
    activity: str
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The figures of a run. Latencies are milliseconds from the intended time, in ascending order.

    `end_to_end_ms` has an entry for every acknowledged task. It is infinite for a task that was not seen to complete:
    without it, tasks that never end would improve the quantiles.
    """

    planned: float
    seconds: float
    attempted: int
    enqueue_ms: tuple[float, ...]
    end_to_end_ms: tuple[float, ...]
    incomplete: tuple[Incomplete, ...] = ()
    problems: tuple[str, ...] = ()
    deadlocks: Deadlocks = field(default=Deadlocks(count=None, source="", why="not asked"))

    @property
    def acknowledged(self) -> int:
        """Tasks that agentexec acknowledged."""
        return len(self.enqueue_ms)

    @property
    def completed(self) -> int:
        """Acknowledged tasks that are COMPLETE in Postgres."""
        return self.acknowledged - len(self.incomplete)

    @classmethod
    def of(
        cls,
        history: History,
        statuses: Mapping[str, str],
        *,
        duration: float,
        planned_in: Callable[[float], float],
    ) -> Self:
        """Read a history of a load that was planned to last `duration` seconds.

        `statuses` are those of all activities in Postgres, by their ids. `planned_in` gives the planned number of tasks
        for a number of seconds: the plan is compared over the real duration of the load.
        """
        lasted = _length(history)
        short = lasted is None or lasted < _ENOUGH * duration
        acknowledged = {str(op.value["activity"]): op for op in history.where("enqueue", OperationType.OK)}
        latencies = {
            str(op.value["activity"]): float(op.value["latency_ms"])
            for op in history.where("complete", OperationType.OK)
            if op.value["status"] == COMPLETE
        }
        return cls(
            planned=planned_in(lasted or 0.0),
            seconds=lasted or 0.0,
            attempted=sum(1 for _ in history.where("enqueue", OperationType.INVOKE)),
            enqueue_ms=tuple(sorted(float(op.value["latency_ms"]) for op in acknowledged.values())),
            end_to_end_ms=tuple(sorted(latencies.get(activity, math.inf) for activity in acknowledged)),
            incomplete=tuple(
                Incomplete(
                    task=f"{op.process}/{op.value['task']}",
                    activity=activity,
                    status=statuses.get(activity, ABSENT),
                )
                for activity, op in acknowledged.items()
                if statuses.get(activity) != COMPLETE
            ),
            problems=(*history.problems, *([f"the load did not last {duration:g} s"] if short else [])),
        )


def _length(history: History) -> float | None:
    """Seconds in which tasks arrived; None if the generator did not record its start and its end."""
    times: dict[str, list[int]] = {"start": [], "stop": []}
    for op in history.where("load", OperationType.INFO):
        times[op.value["phase"]].append(op.time)
    if not times["start"] or not times["stop"]:
        return None
    return seconds(max(times["stop"]) - min(times["start"]))
