"""One life in a lane, struck at one of its commands and judged."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from harness.checkers.base import Verdict
from harness.checkers.delivery import WAITING
from harness.crashpoints.judging import StrikeRecord, history_of, judged
from harness.crashpoints.lane import SLOW_MACHINE, StrikeLane, kill
from harness.crashpoints.lives import LIVES, Life, Meanwhile, gate_of
from harness.crashpoints.living import AFTER_SECONDS, live, nothing, patience, restart_ended
from harness.crashpoints.points import (
    LOSSES,
    PRODUCER,
    CommandKind,
    CrashKind,
    CrashRow,
    CrashStrike,
    stable_name,
)
from harness.history import History, Operation, OperationType
from harness.history.injection import HEAL, INJECT, InjectionKind
from harness.history.names import DRAIN, MACHINE, RUNNER
from harness.history.promises import Loss
from harness.targets.base import OperatorAction, TaskSpec
from harness.wire import ArmedStrike, Command, Strike

ATTEMPTS = 3
"""How often a strike is tried if its command does not occur."""
# Of a second strike: what does not come again takes a long wait each time.
_ATTEMPTS_AT_REPAIRS = 2

_NUDGE_SECONDS = 2.0
_STRIKE_SECONDS = 4.0
# Within the time that a drain gives to a handler.
_HOLD_SECONDS = 2.0
_SHORT_SECONDS = 1.0
_CALL_SECONDS = 40.0
# How many times the patience of the lane a command that repairs something may take to come.
_REPAIR_PATIENCES = 2.0
_SLOWEST_MACHINE = 20.0
_LATE_LEASES = 1.25
_OVERTAKE_LEASES = 1.5
_MOST_LATE_SECONDS = 3.0
_EMPTY_SECONDS = 2.0
_POLL_SECONDS = 0.02


@dataclass(kw_only=True, slots=True)
class Striker:
    """Strikes in one lane. `later` holds the strikes whose tasks have not ended yet, and all strikes after them.

    A lane is `spoiled` once a task is stuck: no further strikes are made on its queue. After `deadline` (by
    `time.monotonic`) it waits no longer for a busy machine.
    """

    lane: StrikeLane
    deadline: float = math.inf
    later: list[StrikeRecord] = field(default_factory=list)
    spoiled: bool = False
    strikes: int = 0
    sent: frozenset[CommandKind] = frozenset()
    """What the processes have sent from the last strike to the end of its tasks."""
    _faults: dict[CrashStrike, int] = field(default_factory=dict)

    def strike(self, crash: CrashStrike) -> CrashRow | None:
        """Strike and judge; None if the verdict comes with `remaining`. A strike that cannot be made is UNKNOWN."""
        began = time.monotonic()
        for number in range(_attempts(crash)):
            record = self._attempt(crash, LIVES[crash.point.life], patient=number > 0)
            if record is not None:
                return self._judge(replace(record, seconds=time.monotonic() - began))
        return not_struck(crash, time.monotonic() - began)

    def remaining(self, within: float) -> Iterator[CrashRow]:
        """The rows of the strikes in `later`, after up to `within` seconds for their tasks."""
        if not self.later:
            return
        seconds = min(within, max(self.reserve, patience(self.lane)))
        finished = self._finish(seconds)
        evidence, history = self._evidence(seconds), self._recorded()
        for record in self.later:
            whole = replace(record, operations=evidence, alone=finished)
            yield judged(whole, history_of(whole, history))
        self.later.clear()

    def _judge(self, record: StrikeRecord) -> CrashRow | None:
        finished = not self.lane.unfinished()
        if self.later or (not finished and self._is_slow):
            self.later.append(record)
            return None
        self.spoiled = not finished
        record = replace(record, operations=self._evidence(patience(self.lane)))
        return judged(record, history_of(record, self._recorded()))

    def _finish(self, within: float) -> bool:
        """Wait until every task has ended: long for one that looks stuck, as a busy machine shows nothing sooner."""
        left = (self.deadline - time.monotonic()) / within
        return self.lane.finish(within, slowest=max(SLOW_MACHINE, min(_SLOWEST_MACHINE, left)))

    def _recorded(self) -> list[Operation]:
        """The operations in the files of the lane, and those of the machine."""
        machine = self.lane.history.parent / f"{MACHINE}.jsonl"
        return [*History.load(self.lane.history), *History.load(machine)]

    @property
    def _is_slow(self) -> bool:
        """Whether the target promises to recover later than the lane waits after each strike."""
        return self.lane.promises.recovery_after(LOSSES) > patience(self.lane)

    @property
    def reserve(self) -> float:
        """Seconds that the tasks of a slow target need after the last strike."""
        return self.lane.promises.recovery_after(LOSSES) + patience(self.lane) if self._is_slow else 0.0

    def _attempt(self, crash: CrashStrike, life: Life, *, patient: bool) -> StrikeRecord | None:
        """Strike one life; None if the command did not occur. A `patient` life waits for it in its handler."""
        lane, first = self.lane, crash.first or crash
        self._number(first, crash)
        before = lane.kinds()
        overtaken = first.kind is CrashKind.KILLED_LATE
        tasks = life.tasks(lane.take(life.count), gated=overtaken)
        if overtaken:  # only the handlers of later processes wait at their gates
            workers = [pid for pool in lane.pools.running() for pid in pool.worker_pids()]
            lane.gates.let_pass(workers, "the gate is for the run that takes over")
        self._note_open(INJECT)
        self._note_emptied(life, INJECT)
        lane.end(life.starts)
        wire = lane.wires[first.point.role, first.point.service]
        armed = wire.arm(self._strike_on_wire(first))
        # A drain gives a handler so much time, whatever the machine does.
        wait = armed.wait if life.meanwhile is Meanwhile.DRAIN else partial(lane.struck, armed)
        hold = partial(wait, _HOLD_SECONDS) if patient else nothing
        living = threading.Thread(target=live, args=(lane, life, tasks, hold), name="life", daemon=True)
        living.start()
        nudge: list[int] = []
        try:
            if life.is_long:
                _wait_while(living, armed, _CALL_SECONDS)
            if armed.wait(_NUDGE_SECONDS) is None:
                # A blocking read gets its reply with the next task, of which each slot may read one.
                nudge += self._nudge(living, armed)
            struck = self._fell(crash, armed, tasks)
        finally:
            wire.disarm(armed)  # what it holds passes
            if overtaken:
                time.sleep(AFTER_SECONDS)
                for task in tasks:
                    lane.gates.open(gate_of(task.number))
            living.join(_CALL_SECONDS)
        self._note_open(HEAL)
        self._note_emptied(life, HEAL)
        passed = lane.recover(fresh=any(one.kind.kills for one in self._faults))
        self._finish(_SHORT_SECONDS if self._is_slow else patience(lane))
        self.sent = frozenset(lane.kinds() - before)
        if not struck:
            return None
        return StrikeRecord(
            strike=crash,
            faults=frozenset({*self._faults.values(), self.strikes}),
            tasks=frozenset({*passed, *nudge, *(task.number for task in tasks)}),
            may_end_badly=life.may_end_badly,
            requeued=life.action is OperatorAction.REQUEUE,
        )

    def _number(self, *strikes: CrashStrike) -> None:
        """Give each strike of an attempt a number in the lane."""
        self._faults.clear()
        for one in dict.fromkeys(strikes):
            self.strikes += 1
            self._faults[one] = self.strikes
        self.strikes += 1  # what the life itself takes

    def _fell(self, crash: CrashStrike, armed: ArmedStrike, tasks: Sequence[TaskSpec]) -> bool:
        """Wait for the command of a strike and carry the strike out; False if a command does not come."""
        command = self.lane.struck(armed, _STRIKE_SECONDS)
        if command is None:
            return False
        if crash.first is None:
            return self._carry_out(crash, command, tasks)
        return self._carry_out_both(crash, crash.first, armed, command)

    def _carry_out_both(
        self, crash: CrashStrike, first: CrashStrike, armed: ArmedStrike, command: Command
    ) -> bool:
        """Carry out a first strike and the one at a command that repairs it; False if that one does not come."""
        lane = self.lane
        wire = lane.wires[crash.point.role, crash.point.service]
        repair = wire.arm(self._strike_on_wire(crash))
        # What a process sends at its start may be struck, so the start may have to wait for the end of the strike.
        restart = threading.Thread(target=restart_ended, args=(lane,), name="restart", daemon=True)
        try:
            if not self._carry_out(first, command, ()):
                return False
            lane.wires[first.point.role, first.point.service].disarm(armed)
            if not LIVES[first.point.life].restarts:
                restart.start()
            found = lane.struck(repair, _REPAIR_PATIENCES * patience(lane))
            return found is not None and self._carry_out(crash, found, ())
        finally:
            wire.disarm(repair)
            if restart.ident is not None:
                restart.join(_CALL_SECONDS)

    def _strike_on_wire(self, crash: CrashStrike) -> Strike:
        point = crash.point
        return Strike(
            blow=crash.kind.blow,
            moment=crash.kind.moment,
            number=point.occurrence,
            name=self.lane.names.sent(point.service, point.name),
            of=lambda client: stable_name(client.name) == point.client,
            seconds=self._late,
        )

    def _carry_out(self, crash: CrashStrike, command: Command, tasks: Sequence[TaskSpec]) -> bool:
        """Do what the wire cannot do by itself; False if the process of the command has ended before."""
        if crash.kind.kills and not self._kill(crash, command):
            return False
        if crash.kind is CrashKind.KILLED_LATE:
            self._overtake(crash, tasks)
        elif crash.kind is CrashKind.REPLY_LATE:
            time.sleep(self._late)
        return True

    @property
    def _late(self) -> float:
        """How many seconds a late reply is late: longer than a lease, so that others may take a task over."""
        return min(_LATE_LEASES * self.lane.settings.lease, _MOST_LATE_SECONDS)

    def _nudge(self, living: threading.Thread, armed: ArmedStrike) -> list[int]:
        """Submit a task for each slot, unless the producer waits for an answer; their numbers."""
        _wait_while(living, armed, _STRIKE_SECONDS)
        if living.is_alive() or armed.command is not None:
            return []
        count = self.lane.settings.concurrency
        first = self.lane.take(count)
        numbers = list(range(first, first + count))
        self.lane.submit([TaskSpec(number=number) for number in numbers])
        return numbers

    def _overtake(self, crash: CrashStrike, tasks: Sequence[TaskSpec]) -> None:
        """Wait until another run of a task has begun and waits at its gate, or until none will."""
        if crash.point.role == PRODUCER:
            return
        self.lane.start_workers()
        gates = {gate_of(task.number) for task in tasks}
        # Others may wait for what the dead process has locked, until its command arrives.
        self.lane.until(
            lambda: any(one.gate in gates for one in self.lane.gates.waiting()),
            _OVERTAKE_LEASES * self.lane.settings.lease,
        )

    def _kill(self, crash: CrashStrike, command: Command) -> bool:
        """Kill the process of a command; False if it has ended before."""
        found = self.lane.owner(crash.point.role, crash.point.service, command.client.port)
        if found is None:
            return False
        pid, pool = found
        of_pool = pool is not None and pool.pid == pid
        self._note(crash, INJECT, [pid], of_pool=of_pool)
        kill(pid)
        self._note(crash, HEAL, [pid], of_pool=of_pool)
        return True

    def _note_open(self, phase: str) -> None:
        """Record the strikes of the attempt that kill no process."""
        for one in self._faults:
            if not one.kind.kills:
                self._note(one, phase, [])

    def _note_emptied(self, life: Life, phase: str) -> None:
        """Record the loss of the data in Redis, which the life itself brings."""
        if life.meanwhile is Meanwhile.EMPTY:
            value = {"kind": InjectionKind.DATA_LOSS, "loss": Loss.BROKER_EMPTIED, "pids": []}
            self.lane.nemesis.record(
                OperationType.INFO, "flush-redis", fault=self.strikes, phase=phase, **value
            )

    def _note(self, crash: CrashStrike, phase: str, pids: Sequence[int], *, of_pool: bool = False) -> None:
        kind, loss = crash.kind.injection(crash.point.role, of_pool=of_pool)
        self.lane.nemesis.record(
            OperationType.INFO,
            str(crash.kind),
            fault=self._faults[crash],
            phase=phase,
            kind=kind,
            pids=list(pids),
            command=crash.point.name,
            **({} if loss is None else {"loss": loss}),
        )

    def _evidence(self, waited: float) -> tuple[Operation, ...]:
        """The evidence of store and queue, once the queue is empty or has had time to be, and how the drain ended."""
        deadline = time.monotonic() + _EMPTY_SECONDS
        while True:
            found = tuple(self.lane.observer.witnesses())
            queues = [one for one in found if one.f == "queue"]
            if (
                not any(one.value.get(name) for one in queues for name in WAITING)
                or time.monotonic() > deadline
            ):
                break
            time.sleep(_POLL_SECONDS)
        drained = Operation(
            time=time.monotonic_ns(),
            process=RUNNER,
            type=OperationType.INFO,
            f=DRAIN,
            value={"unfinished": self.lane.unfinished(), "patience": waited, "quiet": self.lane.quiet},
        )
        return (*found, drained)


def _attempts(crash: CrashStrike) -> int:
    return ATTEMPTS if crash.first is None else _ATTEMPTS_AT_REPAIRS


def not_struck(crash: CrashStrike, seconds: float = 0.0) -> CrashRow:
    """The row of a strike whose command did not come."""
    return CrashRow(
        strike=crash,
        # What repairs something may depend on more than on the strike before it: on a clock, for example.
        verdict=Verdict.UNKNOWN if crash.first is None else Verdict.NOT_ASKED,
        outcome="not struck" if crash.first is None else "not again",
        why=f"the command did not occur in {_attempts(crash)} lives",
        struck=False,
        seconds=seconds,
    )


def _wait_while(living: threading.Thread, armed: ArmedStrike, within: float) -> None:
    """Wait for a strike for as long as a life is lived: a process whose command is held for long sends it again."""
    deadline = time.monotonic() + within
    while living.is_alive() and time.monotonic() < deadline and armed.wait(AFTER_SECONDS) is None:
        continue
