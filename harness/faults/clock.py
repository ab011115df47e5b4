"""A fault of a worker's wall clock: it is ahead, then behind, then right again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from harness.errors import GateError, HarnessError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import wait_until, worker_at_gate
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.kit.harness_worker.clock import note_file
from harness.processes import is_alive

# What a busy machine may take between a time and its note.
_TOLERANCE_SECONDS = 60.0
# Ahead and behind; the note after them is of the right time.
_JUMPS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class JumpClock:
    """The wall clock of a worker is `jump` seconds ahead for `seconds`, then as much behind for as long.

    So its code sees it: `time.time`, `time.time_ns` and `datetime.now`, wherever a module holds them. Servers keep
    their clocks, and monotonic clocks do not jump.
    """

    at: float
    jump: float = 3_600.0
    seconds: float = 1.0
    gated: bool = True
    name: str = "jump-clock"
    action: str = "clock"
    kind: InjectionKind = InjectionKind.CLOCK
    loss: Loss = Loss.WORKER_CLOCK_JUMPED

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The worker whose handler waits at the gate."""
        return worker_at_gate(context, planned, seconds=2 * self.seconds, jump=self.jump)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Let the handler set the clock, let it go on, and wait; raises `GateError` if the clock was never wrong."""
        notes = _notes(context, aim)
        context.gates.act(planned.gate, f"{self.action} {self.jump:g} {self.seconds:g}")
        if not wait_until(lambda: bool(_offsets(notes)), context.patience):
            raise GateError("the handler was asked to set its clock, and did not. See the logs of the pools.")
        context.gates.open(planned.gate)
        wait_until(lambda: len(_offsets(notes)) >= _JUMPS, 2 * self.seconds + context.patience)
        wrong = [abs(offset) > self.jump / 2 for offset in _offsets(notes)[:_JUMPS]]
        if not all(wrong):
            raise GateError("the clock of the worker did not jump. Use the worker kit.")

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Wait until the clock is right; raises `HarnessError` if it is not."""
        context.gates.open(planned.gate)
        notes = _notes(context, aim)
        if not _offsets(notes):
            return
        if not wait_until(lambda: len(_offsets(notes)) > _JUMPS, self.seconds + context.patience):
            if any(map(is_alive, aim.pids)):
                raise HarnessError("The clock of a worker is still wrong. See the logs of the pools.")
            return
        last = _offsets(notes)[-1]
        notes.unlink()
        if abs(last) > _TOLERANCE_SECONDS:
            raise HarnessError(f"The clock of a worker is wrong by {last:.0f} s after its heal.")


def _notes(context: FaultContext, aim: Aim) -> Path:
    return note_file(context.gates.address, aim.pids[0])


def _offsets(notes: Path) -> list[float]:
    """By how much each noted time differs from that of its note, which is at most a minute old."""
    if not notes.exists():
        return []
    return [float(line) - time.time() for line in notes.read_text("utf-8").split("\n")[:-1]]
