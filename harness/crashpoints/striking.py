"""One life in a lane: listed command by command, or struck at one of them and judged."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.checkers.base import Verdict
from harness.checkers.delivery import WAITING
from harness.crashpoints.judging import StrikeRecord, history_of, judged
from harness.crashpoints.lane import StrikeLane, kill
from harness.crashpoints.lives import LIVES, Life, Meanwhile, gate_of
from harness.crashpoints.points import PRODUCER, CrashKind, CrashRow, CrashStrike, Point
from harness.environments.base import Service
from harness.errors import GateError, HarnessError, TargetFailed
from harness.history import History, Operation, OperationType
from harness.history.injection import HEAL, INJECT
from harness.history.names import DRAIN, MACHINE, RUNNER
from harness.targets.base import TaskSpec
from harness.wire import Command, Strike, WireClient

ATTEMPTS = 3
"""How often a strike is tried if its command does not occur."""

_NUDGE_SECONDS = 2.0
_STRIKE_SECONDS = 4.0
_IDLE_SECONDS = 2.5
# After the end of a task a worker still acknowledges it, and a producer notes its dispatch.
_AFTER_SECONDS = 0.3
_SHORT_SECONDS = 1.0
_CANCEL_SECONDS = 1.5
_CALL_SECONDS = 40.0
_LATE_LEASES = 1.25
_OVERTAKE_LEASES = 1.5
_MOST_LATE_SECONDS = 3.0
_EMPTY_SECONDS = 2.0
_POLL_SECONDS = 0.02
_ARBITRARY = re.compile(r"[0-9a-fA-F]{8,}|\d+")


def patience(lane: StrikeLane) -> float:
    """Seconds after which an unfinished task counts as stuck, or is looked at again at the end of the lane.

    Twice as long as the target promises that it takes a silent worker's tasks over, within limits.
    """
    least, silence = lane.settings.patience, lane.promises.takes_over_after or 0.0
    return max(least, min(2 * silence, 2 * least))


def client_of(client: WireClient) -> str:
    """The name of a client without what differs between processes; empty if it has none."""
    return _ARBITRARY.sub("*", client.name)


def points_of(lane: StrikeLane, life: Life, *, background: bool) -> list[Point]:
    """The commands of one life, in order.

    With `background`, also those that are sent without any task. Without it, clients that send nothing else are left
    out. The life is lived once before, so that connections are open and statements are prepared, as they are later.
    """
    _live_to_the_end(lane, life)
    _back_to_normal(lane)
    idle = _watched(lane, _idle)
    usual = Counter(map(_key, idle))
    began = time.monotonic()
    first = _watched(lane, lambda: _live_to_the_end(lane, life))
    seconds = time.monotonic() - began
    _back_to_normal(lane)
    # What does not come again was by chance in this life: a command that is sent twice a minute, for example.
    again = set(_watched(lane, lambda: _live_to_the_end(lane, life)))
    _back_to_normal(lane)
    points = [replace(point, life=life.name) for point in first if point in again]
    if background:
        known = set(map(_key, points))
        others = {_key(point): replace(point, life=life.name, number=0) for point in reversed(idle)}
        return points + [point for key, point in others.items() if key not in known]
    sent = Counter(map(_key, points))
    more = {
        key[:3]
        for key, number in sent.items()
        if number > usual[key] * seconds / _IDLE_SECONDS + bool(usual[key])
    }
    return [point for point in points if _key(point)[:3] in more]


def _key(point: Point) -> tuple[str, str, str, str]:
    """What commands of one kind have in common; the first three parts are their client."""
    return point.role, point.service, point.client, point.name


def _back_to_normal(lane: StrikeLane) -> None:
    lane.recover()
    if not lane.finish(patience(lane)):
        raise HarnessError(
            f"A life without any strike did not end within {patience(lane):g} s. Check the target."
        )
    time.sleep(_AFTER_SECONDS)


Watched = Mapping[tuple[str, Service], Sequence[Command]]
"""The commands of each side to each server."""


def _live_to_the_end(lane: StrikeLane, life: Life) -> Watched:
    """Live once, to the end of the tasks.

    The client of an adapter also sends what the harness asks for while it waits for that end; returned is what such a
    client has sent before, and nothing for other producers.
    """
    live(lane, life, life.tasks(lane.take(life.count)))
    sent = {} if lane.can_kill_producer else {key: lane.wires[key].watched() for key in lane.wires}
    lane.finish(patience(lane))
    time.sleep(_AFTER_SECONDS)
    return {key: commands for key, commands in sent.items() if key[0] == PRODUCER}


def _idle() -> Watched:
    time.sleep(_IDLE_SECONDS)
    return {}


def _watched(lane: StrikeLane, action: Callable[[], Watched]) -> list[Point]:
    """The commands that are sent during an action, or that the action returns."""
    names = lane.command_names()
    for wire in lane.wires.values():
        wire.watch()
    given = action()
    found = []
    for (role, service), wire in lane.wires.items():
        seen: Counter[tuple[str, str]] = Counter()
        for command in given.get((role, service), wire.watched()):
            client = client_of(command.client)
            seen[client, command.name] += 1
            found.append(
                Point(
                    life="",
                    role=role,
                    service=service,
                    client=client,
                    name=names.get(command.name, command.name),
                    occurrence=seen[client, command.name],
                    number=command.number,
                )
            )
    return found


def live(lane: StrikeLane, life: Life, tasks: Sequence[TaskSpec]) -> None:
    """Submit the tasks of a life, and do what happens meanwhile; returns before the tasks end."""
    answers = lane.submit(tasks)
    if life.meanwhile is Meanwhile.NOTHING:
        return
    gate = gate_of(tasks[0].number)
    try:
        if not _waits_at(lane, gate):
            return
        if life.meanwhile is Meanwhile.CANCEL:
            _cancel(lane, [one.activity for one in answers if one.activity is not None])
        else:
            for pool in lane.pools.running():
                pool.terminate()
            time.sleep(_AFTER_SECONDS)
    finally:
        lane.gates.open(gate)


def _waits_at(lane: StrikeLane, gate: str) -> bool:
    """Wait until a handler is at the gate; False if there is no task that could come to it."""
    deadline = time.monotonic() + patience(lane)
    while time.monotonic() < deadline:
        try:
            lane.gates.wait_for(gate, within=_AFTER_SECONDS)
            return True
        except GateError:
            if not lane.unfinished():
                return False
    return False


def _cancel(lane: StrikeLane, activities: Sequence[str]) -> None:
    try:
        lane.producer.cancel(activities)
    except TargetFailed:
        return  # the outcome of the request is open
    lane.finish(_CANCEL_SECONDS)


@dataclass(kw_only=True, slots=True)
class Striker:
    """Strikes in one lane. `later` holds the strikes whose tasks have not ended yet, and all strikes after them.

    A lane is `spoiled` once a task is stuck: no further strikes are made on its queue.
    """

    lane: StrikeLane
    later: list[StrikeRecord] = field(default_factory=list)
    spoiled: bool = False
    strikes: int = 0

    def strike(self, crash: CrashStrike) -> CrashRow | None:
        """Strike and judge; None if the verdict comes with `remaining`. A strike that cannot be made is UNKNOWN."""
        began = time.monotonic()
        for _ in range(ATTEMPTS):
            record = self._attempt(crash, LIVES[crash.point.life])
            if record is not None:
                return self._judge(replace(record, seconds=time.monotonic() - began))
        why = f"the command did not occur in {ATTEMPTS} lives"
        return CrashRow(
            strike=crash,
            verdict=Verdict.UNKNOWN,
            outcome="not struck",
            why=why,
            struck=False,
            seconds=time.monotonic() - began,
        )

    def remaining(self, within: float) -> Iterator[CrashRow]:
        """The rows of the strikes in `later`, after up to `within` seconds for their tasks."""
        if not self.later:
            return
        seconds = min(within, max(self.reserve, patience(self.lane)))
        finished = self.lane.finish(seconds)
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

    def _recorded(self) -> list[Operation]:
        """The operations in the files of the lane, and those of the machine."""
        machine = self.lane.history.parent / f"{MACHINE}.jsonl"
        return [*History.load(self.lane.history), *History.load(machine)]

    @property
    def _is_slow(self) -> bool:
        """Whether the target promises to recover later than the lane waits after each strike."""
        return max(self.lane.promises.recovers_within.values(), default=0.0) > patience(self.lane)

    @property
    def reserve(self) -> float:
        """Seconds that the tasks of a slow target need after the last strike."""
        longest = max(self.lane.promises.recovers_within.values(), default=0.0)
        return longest + patience(self.lane) if self._is_slow else 0.0

    def _attempt(self, crash: CrashStrike, life: Life) -> StrikeRecord | None:
        """Strike one life; None if the command did not occur."""
        lane = self.lane
        self.strikes += 1
        overtaken = crash.kind is CrashKind.KILLED_LATE
        tasks = life.tasks(lane.take(life.count), gated=overtaken)
        if overtaken:  # only the handlers of later processes wait at their gates
            workers = [pid for pool in lane.pools.running() for pid in pool.worker_pids()]
            lane.gates.let_pass(workers, "the gate is for the run that takes over")
        if not crash.kind.kills:
            self._note(crash, INJECT, [])
        wire = lane.wires[crash.point.role, crash.point.service]
        armed = wire.arm(self._strike_on_wire(crash))
        living = threading.Thread(target=live, args=(lane, life, tasks), name="life", daemon=True)
        living.start()
        nudge: list[int] = []
        try:
            if armed.wait(_NUDGE_SECONDS) is None:
                # A blocking read gets its reply with the next task.
                nudge += self._nudge(living)
            command = armed.wait(_STRIKE_SECONDS)
            struck = command is not None and self._carry_out(crash, command, tasks)
        finally:
            wire.disarm(armed)  # what it holds passes
            if overtaken:
                time.sleep(_AFTER_SECONDS)
                for task in tasks:
                    lane.gates.open(gate_of(task.number))
            living.join(_CALL_SECONDS)
        if not crash.kind.kills:
            self._note(crash, HEAL, [])
        passed = lane.recover(fresh=crash.kind.kills)
        lane.finish(_SHORT_SECONDS if self._is_slow else patience(lane))
        numbers = frozenset({*passed, *nudge, *(task.number for task in tasks)})
        may_end_badly = life.meanwhile is Meanwhile.CANCEL
        record = StrikeRecord(strike=crash, number=self.strikes, tasks=numbers, may_end_badly=may_end_badly)
        return record if struck else None

    def _strike_on_wire(self, crash: CrashStrike) -> Strike:
        point = crash.point
        return Strike(
            blow=crash.kind.blow,
            moment=crash.kind.moment,
            number=point.occurrence,
            name=_name_on_wire(self.lane, point),
            of=lambda client: client_of(client) == point.client,
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

    def _nudge(self, living: threading.Thread) -> list[int]:
        """Submit one more task, unless the producer waits for an answer; its number."""
        living.join(_STRIKE_SECONDS)
        if living.is_alive():
            return []
        number = self.lane.take(1)
        self.lane.submit([TaskSpec(number=number)])
        return [number]

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
        found = self.lane.owner(crash.point.role, command.client.port)
        if found is None:
            return False
        pid, pool = found
        of_pool = pool is not None and pool.pid == pid
        self._note(crash, INJECT, [pid], of_pool=of_pool)
        kill(pid)
        self._note(crash, HEAL, [pid], of_pool=of_pool)
        return True

    def _note(self, crash: CrashStrike, phase: str, pids: Sequence[int], *, of_pool: bool = False) -> None:
        kind, loss = crash.kind.injection(crash.point.role, of_pool=of_pool)
        self.lane.nemesis.record(
            OperationType.INFO,
            str(crash.kind),
            fault=self.strikes,
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


def _name_on_wire(lane: StrikeLane, point: Point) -> str:
    """The name that the wire gives a command, by that of the table."""
    names = {better: name for name, better in lane.command_names().items()}
    return names.get(point.name, point.name)
