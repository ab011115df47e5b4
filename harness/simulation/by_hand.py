"""Activities that a service keeps by hand, as applications do for work that no pool runs, and what must be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import agentexec as ax
from agentexec.errors import AgentexecError
from agentexec.store.status import TERMINAL, Status
from harness.simulation.runtime import VirtualRuntime

CREATE, NOTE, COMPLETE, ERROR, CANCEL, FAIL_BY_NOTE = (
    "create", "note", "complete", "error", "cancel", "fail-by-note",
)  # fmt: skip
LIVES: Sequence[Sequence[str]] = (
    (CREATE, NOTE, COMPLETE),
    (CREATE, ERROR),
    (CREATE, CANCEL, NOTE),
    (CREATE, NOTE, NOTE, CANCEL),
    (CREATE, NOTE, FAIL_BY_NOTE, COMPLETE),
    (CREATE, COMPLETE, ERROR),
    (CREATE, CREATE, NOTE, NOTE, ERROR),
    (NOTE, CREATE, FAIL_BY_NOTE),
)
"""The calls of a service about one activity, in their order."""
QUEUED, STARTED = "Agent queued", "Started."
# Seconds between two calls, until one that failed is made again, and how often that is done.
PAUSE, AGAIN_AFTER, TRIES = 0.2, 0.25, 80
_ENDS = {COMPLETE: Status.COMPLETE, ERROR: Status.ERROR, CANCEL: Status.CANCELED, FAIL_BY_NOTE: Status.ERROR}

LogRow = tuple[str, str, int | None]
"""The status, the message and the percentage of an entry of a log."""


class ManualRecord(NamedTuple):
    """An activity that is kept by hand, as the store has it: its status, and its log in order."""

    status: str
    log: Sequence[LogRow]


@dataclass(slots=True)
class ManualActivity:
    """One activity, and what the calls about it so far must have recorded in its log."""

    activity: UUID
    log: list[LogRow] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def live(self, runtime: VirtualRuntime, calls: Sequence[str]) -> None:
        """Make the calls, each until the servers answer; gives up after `TRIES`."""
        for number, call in enumerate(calls):
            for _ in range(TRIES):
                if self._made(call, number):
                    break
                runtime.sleep(AGAIN_AFTER)
            else:
                return
            runtime.sleep(PAUSE)

    def judged(self, record: ManualRecord | None) -> Iterator[str]:
        """What the record has otherwise than the calls, a sentence each."""
        yield from self.findings
        if not self.log:
            if record is not None:
                yield f"manual: {self.activity} is recorded, and no call created it"
        elif record is None:
            yield f"manual: {self.activity} was created, and there is no record of it"
        elif (record.status, [*record.log]) != (self.log[-1][0], self.log):
            yield f"manual: {self.activity} is {record.status} with {record.log}; its calls make {self.log}"

    def _made(self, call: str, number: int) -> bool:
        """Make one call; False if it failed and has to be made again."""
        message, share = f"{call} {number}", 10 * number
        try:
            answer = self._call(call, message, share)
        except AgentexecError:
            if not (call == CREATE and self.log):
                self.findings.append(f"manual: {call} of {self.activity} is refused")
            return True
        except Exception:  # noqa: BLE001 - no server answered; nothing was done
            return False
        expected = call == CREATE or self._is_pending
        if call == CREATE and self.log:
            self.findings.append(f"manual: {self.activity} is created twice")
        elif answer is not expected:
            self.findings.append(f"manual: {call} of {self.activity} returns {answer}, not {expected}")
        elif expected:
            self._expect(call, message, share)
        return True

    @property
    def _is_pending(self) -> bool:
        return bool(self.log) and Status(self.log[-1][0]) not in TERMINAL

    def _call(self, call: str, message: str, share: int) -> bool:
        activity = self.activity
        calls: dict[str, Callable[[], object]] = {
            CREATE: lambda: ax.activity.create("by hand", agent_id=activity),
            NOTE: lambda: ax.activity.update(activity, message, percentage=share),
            COMPLETE: lambda: ax.activity.complete(activity, message),
            ERROR: lambda: ax.activity.error(activity, message, share),
            CANCEL: lambda: ax.activity.cancel(activity, message, percentage=share),
            FAIL_BY_NOTE: lambda: ax.activity.update(activity, message, share, Status.ERROR),
        }
        return bool(calls[call]())

    def _expect(self, call: str, message: str, share: int) -> None:
        """Add what a call that was accepted records."""
        if call == CREATE:
            self.log.append((Status.QUEUED, QUEUED, 0))
            return
        queued = self.log[-1][0] == Status.QUEUED
        if call == CANCEL and queued:
            self.log.append((Status.CANCELED, message, None))
            return
        if queued:
            self.log.append((Status.RUNNING, STARTED, 0))
        status = _ENDS.get(call, Status.RUNNING)
        self.log.append((status, message, 100 if call == COMPLETE else share))
