"""How a chaos run records its load: the plan when it begins, and how late the generator noticed its arrivals.

runner  load  invoke: what `PlannedLoad.to_value` gives, and start (when the load began, on the clock of the history)
              ok: noticed (the generator's own lateness), when every task is submitted and answered
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from harness.history import History, Operation, OperationType, Recorder
from harness.history.figures import NANOSECONDS
from harness.history.names import LOAD, RUNNER
from harness.load.histogram import LatencyHistogram
from harness.load.planned_load import PlannedLoad
from harness.load.schedule import PlacedStage
from harness.load.stages import LinearStage


class LoadRecorder:
    """Records one load; `recorder` is that of the runner."""

    def __init__(self, load: PlannedLoad, recorder: Recorder) -> None:
        self._load = load
        self._recorder = recorder
        self._noticed = LatencyHistogram()

    def begin(self, start: float) -> None:
        """Record the plan; the load begins at `start`, by `time.monotonic`."""
        value = {**self._load.to_value(), "start": round(start * NANOSECONDS)}
        self._recorder.record(OperationType.INVOKE, LOAD, **value)

    def notice(self, lateness: float) -> None:
        """Count an arrival that the generator noticed so many seconds after its intended time."""
        self._noticed.record(lateness)

    def end(self) -> None:
        """Record that every task is submitted and answered."""
        self._recorder.record(OperationType.OK, LOAD, noticed=self._noticed.to_value())


@dataclass(frozen=True, kw_only=True)
class RecordedLoad:
    """The load of a history. `start` and `end` are in nanoseconds; `end` and `noticed` are None if it was cut short."""

    plan: Mapping[str, Any]
    start: int
    end: int | None
    noticed: LatencyHistogram | None

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
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"a load operation of the runner cannot be read ({type(error).__name__})"
            ) from None

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
