"""The phases of a run: its deadline, what broke down, and the operations that say how each phase ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.errors import FOREIGN_ERRORS, HarnessError
from harness.history import BREAKDOWN, OperationType, Recorder
from harness.history.ending import RunPhase
from harness.history.names import PHASE
from harness.masking import masked
from harness.run.gauge import MachineGauge


@dataclass(kw_only=True, slots=True)
class Phases:
    """The deadline of a run (by `time.monotonic`), and the breakdowns of its phases; `recorder` is that of the runner.

    With `grace`, the deadline is later by the time that the machine took away, at most by so many seconds.
    Each phase is recorded when it begins and ends, so that a later check of the history knows whether the run came to
    its end, also after Ctrl-C and SIGKILL.
    """

    deadline: float
    recorder: Recorder
    grace: float = 0.0
    gauge: MachineGauge | None = None
    breakdowns: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        lost = 0.0 if self.gauge is None else min(self.gauge.lost, self.grace)
        return max(0.0, self.deadline + lost - time.monotonic())

    def stop_in_time(self, stop: threading.Event) -> None:
        """Wait until `stop` is set, and set it when the deadline has passed."""
        while (left := self.seconds_left) and not stop.wait(left):
            pass
        stop.set()

    @contextmanager
    def phase(self, name: RunPhase) -> Iterator[None]:
        """One phase of the run; an error in it is added to `breakdowns`, so that later phases still happen."""
        self._record(OperationType.INVOKE, PHASE, phase=name)
        try:
            yield
        except HarnessError as error:
            self._broke_down(name, str(error))
        except FOREIGN_ERRORS as error:  # recorded: it makes the verdict UNKNOWN, and teardown continues
            self._broke_down(name, f"{name} broke down: {type(error).__name__}: {error}")
        except BaseException as error:
            self._record(OperationType.INFO, PHASE, phase=name)
            if not self.interrupted:  # the phases around this one are interrupted too
                why = f"the run was interrupted by {type(error).__name__}"
                self._record(OperationType.INFO, BREAKDOWN, why=why, phase=name)
            self.interrupted = True
            raise
        else:
            self._record(OperationType.OK, PHASE, phase=name)

    def _broke_down(self, name: RunPhase, why: str) -> None:
        self.breakdowns.append(why)
        self._record(OperationType.FAIL, PHASE, phase=name)
        self._record(OperationType.INFO, BREAKDOWN, why=masked(why), phase=name)

    def _record(self, kind: OperationType, f: str, /, **value: Any) -> None:
        with suppress(OSError):  # a full disk: without its end in the history, a phase counts as not ended
            self.recorder.record(kind, f, **value)
