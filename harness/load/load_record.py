"""How a chaos run records its load: the plan when it begins, and how late the generator noticed its arrivals.

runner  load  invoke: what `PlannedLoad.to_value` gives, and start (when the load began, on the clock of the history)
              ok: noticed (the generator's own lateness), when every task is submitted and answered
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from harness.history import History, Operation, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.names import LOAD, RUNNER
from harness.load.baseline import Baseline
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.schedule import PlacedStage
from harness.load.stages import LinearStage


@dataclass(frozen=True, kw_only=True)
class RecordedLoad:
    """The load of a history. `start` and `end` are in nanoseconds; `end` and `noticed` are None if it was cut short."""

    plan: Mapping[str, Any]
    start: int
    end: int | None
    noticed: LatencyHistogram | None
    baseline: Baseline | None = None

    @classmethod
    def of(cls, history: History) -> Self | None:
        """The load of a history, None if it has none; raises `ValueError` for one that cannot be read."""
        found = [one for one in history.where(LOAD) if one.process == RUNNER]
        begun = next((one for one in found if one.type is OperationType.INVOKE), None)
        if begun is None:
            return None
        ended = next((one for one in found if one.type is OperationType.OK), None)
        try:
            return cls(
                plan={**begun.value, "arrivals": int(begun.value["arrivals"])},
                start=int(begun.value["start"]),
                end=None if ended is None else ended.time,
                noticed=None if ended is None else _noticed(ended),
                baseline=Baseline.of(begun.value["baseline"]) if "baseline" in begun.value else None,
            )
        except (AssertionError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"a load operation of the runner cannot be read ({type(error).__name__})"
            ) from None

    @property
    def baseline_rows(self) -> Mapping[str, LoadRow]:
        """The rows of the earlier load; empty without one."""
        return {} if self.baseline is None else self.baseline.rows

    def second(self, time: int) -> float:
        """A time of the history in seconds since the start of the load."""
        return (time - self.start) / NANOSECONDS

    def stages(self) -> Sequence[PlacedStage]:
        """The stages with their texts and lengths, and with their rate if it is constant: what a page shows."""
        placed: list[PlacedStage] = []
        begin = 0.0
        for number, one in enumerate(self.plan["stages"]):
            rate = one["rate"] or 0.0
            stage = LinearStage(first=rate, last=rate, seconds=one["seconds"], text=str(one["text"]))
            placed.append(PlacedStage(number, begin, stage))
            begin += one["seconds"]
        return placed


def _noticed(ended: Operation) -> LatencyHistogram:
    return LatencyHistogram.from_value(ended.value["noticed"])
