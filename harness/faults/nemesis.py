"""The nemesis carries out planned faults one after another and records each injection and each heal.

Every injected fault is healed in the end, also when the run breaks down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from harness.errors import GateError, HarnessError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.history import OperationType, Recorder
from harness.history.injection import HEAL, INJECT


class Nemesis:
    """Executes planned faults. `missed` lists the faults that found no victim, one sentence each."""

    def __init__(self, context: FaultContext, recorder: Recorder, *, log: Callable[[str], None]) -> None:
        self._context = context
        self._recorder = recorder
        self._log = log
        self._unhealed: list[tuple[PlannedFault, Aim]] = []
        self.missed: list[str] = []

    def run(self, planned: Sequence[PlannedFault], *, start: float, stop: threading.Event) -> None:
        """Inject and heal all faults; `start` is the start of the workload by `time.monotonic`.

        Returns early once `stop` is set. A fault that finds no victim is skipped and added to `missed`; a checker
        decides whether enough faults were injected.
        """
        for fault in planned:
            begin = fault.due if fault.moment is None else fault.moment
            stop.wait(max(0.0, start + begin - time.monotonic()))
            if stop.is_set():
                return
            self._carry_out(fault, len(planned))

    def heal_all(self) -> None:
        """Heal every fault that is not healed yet, newest first; raises the first failure after all attempts."""
        failures: list[HarnessError] = []
        while self._unhealed:
            try:
                self._heal(*self._unhealed.pop())
            except HarnessError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _carry_out(self, planned: PlannedFault, total: int) -> None:
        try:
            aim = planned.fault.aim(self._context, planned)
        except GateError as error:
            self._miss(planned, error)
            return
        self._log(f"fault {planned.number} of {total}: {planned.fault.name} {_victims(aim)}")
        self._record(planned, aim, INJECT)
        self._unhealed.append((planned, aim))
        try:
            planned.fault.inject(self._context, planned, aim)
        except GateError as error:
            self._miss(planned, error)
            self._record(planned, aim, INJECT, OperationType.FAIL)
        self._heal(*self._unhealed.pop())

    def _miss(self, planned: PlannedFault, error: GateError) -> None:
        self._context.gates.open(planned.gate)
        self.missed.append(f"fault {planned.number} ({planned.fault.name}): {error}")

    def _heal(self, planned: PlannedFault, aim: Aim) -> None:
        try:
            planned.fault.heal(self._context, planned, aim)
        finally:
            self._record(planned, aim, HEAL)

    def _record(
        self, planned: PlannedFault, aim: Aim, phase: str, kind: OperationType = OperationType.INFO
    ) -> None:
        self._recorder.record(
            kind,
            planned.fault.name,
            fault=planned.number,
            phase=phase,
            kind=planned.fault.kind,
            pool=aim.pool.name,
            pids=list(aim.pids),
            **({"loss": loss} if (loss := getattr(planned.fault, "loss", None)) is not None else {}),
            **aim.value,
            **aim.found,
        )


def _victims(aim: Aim) -> str:
    pids = f" pid {', '.join(map(str, aim.pids))}" if aim.pids else ""
    return f"{aim.pool.name}{pids}"
