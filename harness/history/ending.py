"""How a run ended: whether the evidence of its end says anything about the system under test.

The runner records each phase of a run when it begins and when it ends, and how the drain ended. A run that broke down,
was interrupted or was killed before the end of its drain left tasks behind that the system had no time to finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.history.figures import NANOSECONDS
from harness.history.history import History
from harness.history.machine import too_little_time
from harness.history.names import BREAKDOWN, DRAIN, PHASE, RUNNER
from harness.history.operation import OperationType
from harness.history.promises import losses, promises


class RunPhase(StrEnum):
    """The phases of a run in their order; `phase` in the value of a `phase` or `breakdown` operation."""

    RUN = "the run"
    STARTING = "starting the pool"
    WORKLOAD = "the workload under faults"
    HEALING = "healing"
    DRAIN = "the drain"
    STOPPING = "stopping the pools"
    COLLECTING = "collecting the evidence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """How a drain ended: `unfinished` tasks were left when nothing had moved for `patience` seconds.

    Nothing moved from `start` to `end` (nanoseconds).
    """

    unfinished: int
    patience: float
    start: int
    end: int


def cut_short(history: History) -> str | None:
    """Why the run ended before its drain was complete and its evidence collected; None if it did not.

    A history without any `phase` is an older one, or not one of a run: then any breakdown cuts it short.
    """
    return history.derive(_cut_short)


def open_end(history: History) -> str | None:
    """Why an unfinished task of this history is no breach: the run was cut short, or did not wait long enough.

    None if the drain was complete, so that an unfinished task is one that would never finish.
    """
    return history.derive(_open_end)


def stopped_at(history: History) -> int | None:
    """When a run that was cut short began to stop (nanoseconds): processes that end later are ended by the harness.

    None for a run that was not cut short.
    """
    return history.derive(_stopped_at)


def drain(history: History) -> Drain | None:
    """How the drain ended; None if the history does not say it."""
    return history.derive(_drain)


def _cut_short(history: History) -> str | None:
    reasons = [str(op.value.get("why")) for op in history.where(BREAKDOWN)]
    phases = [op for op in history.where(PHASE) if op.process == RUNNER]
    if not phases:
        return reasons[0] if reasons else None
    done = {op.value.get("phase") for op in phases if op.type is OperationType.OK}
    if {RunPhase.DRAIN, RunPhase.COLLECTING} <= done:
        return None
    return reasons[0] if reasons else "the run ended before it was drained and its evidence was collected"


def _open_end(history: History) -> str | None:
    if (why := cut_short(history)) is not None:
        return why
    found = drain(history)
    if found is None or not found.unfinished:
        return None
    if (promised := _promised_recovery(history)) > found.patience:
        return (
            f"the drain waited {found.patience:g} s without any change, and the target promises a recovery within "
            f"{promised:g} s; give a longer --patience"
        )
    return too_little_time(history, found.start, found.end, needed=found.patience)


def _stopped_at(history: History) -> int | None:
    if cut_short(history) is None:
        return None
    ended = [
        op.time
        for op in history.where(PHASE)
        if (op.value.get("phase") == RunPhase.STOPPING and op.type is OperationType.INVOKE)
        or op.type in (OperationType.FAIL, OperationType.INFO)
    ]
    if ended:
        return min(ended)
    worked = [op.time for op in history if op.process in ("client", "nemesis")]
    return worked[-1] if worked else 0


def _drain(history: History) -> Drain | None:
    ended = [op for op in history.where(DRAIN) if op.process == RUNNER]
    if not ended:
        return None
    last = ended[-1]
    patience, quiet = (float(last.value.get(name) or 0.0) for name in ("patience", "quiet"))
    return Drain(
        unfinished=int(last.value.get("unfinished") or 0),
        patience=patience,
        start=last.time - round(quiet * NANOSECONDS),
        end=last.time,
    )


def _promised_recovery(history: History) -> float:
    made = promises(history)
    return 0.0 if made is None else made.recovery_after(losses(history))
