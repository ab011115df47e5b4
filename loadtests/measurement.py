"""The figures of a load test: a pure reading of the history of its clients and of the final statuses in Postgres."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.environments.deadlocks import Deadlocks
from harness.environments.log_errors import LoggedErrors
from harness.history import History, OperationType
from harness.history.figures import seconds
from harness.history.statuses import COMPLETE
from harness.load.verdict import DoubtKind

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
class Generator:
    """What the generator says of itself: arrivals that were due and never sent, and why it measured nothing."""

    never_sent: int = 0
    problems: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read its verdict.json."""
        document = json.loads(path.read_text("utf-8"))
        doubts = [doubt for doubt in document["doubts"] if doubt["kind"] != DoubtKind.NEVER_SENT]
        return cls(
            never_sent=document["counts"]["dropped"], problems=tuple(doubt["text"] for doubt in doubts)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The figures of a run. Latencies are milliseconds from the intended time, in ascending order.

    `end_to_end_ms` has an entry for every acknowledged task. It is infinite for a task that was not seen to complete:
    without it, tasks that never end would improve the quantiles. Arrivals that were due and never sent are infinite in
    both.
    """

    planned: float
    seconds: float
    attempted: int
    enqueue_ms: tuple[float, ...]
    end_to_end_ms: tuple[float, ...]
    incomplete: tuple[Incomplete, ...] = ()
    problems: tuple[str, ...] = ()
    deadlocks: Deadlocks = field(default=Deadlocks(count=None, source="", why="not asked"))
    logs: tuple[LoggedErrors, ...] = ()

    @property
    def acknowledged(self) -> int:
        """Tasks that agentexec acknowledged."""
        return sum(not math.isinf(latency) for latency in self.enqueue_ms)

    @property
    def completed(self) -> int:
        """Acknowledged tasks that are COMPLETE in Postgres."""
        return self.acknowledged - len(self.incomplete)

    @classmethod
    def of(
        cls,
        history: History,
        statuses: Mapping[str, str],
        generator: Generator = Generator(),
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
        never = (math.inf,) * generator.never_sent
        return cls(
            planned=planned_in(min(lasted or 0.0, duration)),  # Locust stops some time after the last arrival
            seconds=min(lasted or 0.0, duration),
            attempted=sum(1 for _ in history.where("enqueue", OperationType.INVOKE)) + generator.never_sent,
            enqueue_ms=(*sorted(float(op.value["latency_ms"]) for op in acknowledged.values()), *never),
            end_to_end_ms=(*sorted(latencies.get(activity, math.inf) for activity in acknowledged), *never),
            incomplete=tuple(
                Incomplete(
                    task=f"{op.process}/{op.value['task']}",
                    activity=activity,
                    status=statuses.get(activity, ABSENT),
                )
                for activity, op in acknowledged.items()
                if statuses.get(activity) != COMPLETE
            ),
            problems=(
                *history.problems,
                *generator.problems,
                *([f"the load did not last {duration:g} s"] if short else []),
            ),
        )


def _length(history: History) -> float | None:
    """Seconds in which tasks arrived; None if the generator did not record its start and its end."""
    times: dict[str, list[int]] = {"start": [], "stop": []}
    for op in history.where("load", OperationType.INFO):
        times[op.value["phase"]].append(op.time)
    if not times["start"] or not times["stop"]:
        return None
    return seconds(max(times["stop"]) - min(times["start"]))
