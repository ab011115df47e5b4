"""The nemesis of a simulated run: it injects the planned faults and records each injection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from harness.history import InjectionKind, OperationType
from harness.history.figures import NANOSECONDS
from harness.history.injection import INJECT
from harness.history.names import NEMESIS
from harness.simulation.call_faults import CallFault, CallPoint, PendingFault
from harness.simulation.plan import LONGEST, FaultKind, SimulatedFault
from harness.simulation.pool import SimulatedPool
from harness.simulation.scheduler import Process
from harness.simulation.system import SimulatedSystem

T = TypeVar("T")
# Seconds until an operator starts a replacement for a killed or stopped process.
RESTARTED_AFTER = 0.2
# Seconds after which a pending fault that has not struck is aimed again.
AIMED_AGAIN_AFTER = 1.0
# The most kills in one slot of a pool: each doubles the time until the supervisor fills that slot again, so more of
# them would take up the whole run.
KILLS_PER_SLOT = 3
# The producer and the service are on the other host.
FROZEN_HOST = 1
# Seconds past the plan's last moment after which a fault without a victim is dropped.
GIVEN_UP_AFTER = 15.0

_CALL_FAULTS = {
    FaultKind.KILL_WORKER: CallFault.KILL,
    FaultKind.STALL_WORKER: CallFault.STALL,
    FaultKind.LOSE_REQUEST: CallFault.LOSE_REQUEST,
    FaultKind.LOSE_REPLY: CallFault.LOSE_REPLY,
    FaultKind.LATE_REQUEST: CallFault.LATE_REQUEST,
    FaultKind.PRODUCER_LOSES_REPLY: CallFault.LOSE_REPLY,
    FaultKind.KILL_PRODUCER: CallFault.KILL,
    FaultKind.KILL_PARENT: CallFault.KILL,
    FaultKind.FREEZE_HOST: CallFault.STALL,
}

INJECTIONS: Mapping[FaultKind, InjectionKind] = {
    FaultKind.KILL_WORKER: InjectionKind.KILL,
    FaultKind.KILL_PARENT: InjectionKind.KILL,
    FaultKind.KILL_POOL: InjectionKind.KILL,
    FaultKind.KILL_PRODUCER: InjectionKind.KILL,
    FaultKind.STALL_WORKER: InjectionKind.PAUSE,
    FaultKind.TERMINATE_POOL: InjectionKind.STOP,
    FaultKind.LOSE_REQUEST: InjectionKind.DISCONNECT,
    FaultKind.LOSE_REPLY: InjectionKind.DISCONNECT,
    FaultKind.LATE_REQUEST: InjectionKind.DISCONNECT,
    FaultKind.PRODUCER_LOSES_REPLY: InjectionKind.DISCONNECT,
    FaultKind.REDIS_FORGETS: InjectionKind.DATA_LOSS,
    FaultKind.REDIS_AWAY: InjectionKind.DISCONNECT,
    FaultKind.REDIS_FAILS_OVER: InjectionKind.DATA_LOSS,
    FaultKind.REDIS_CLOCK: InjectionKind.CLOCK,
    FaultKind.REDIS_LOSES_KEYS: InjectionKind.DATA_LOSS,
    FaultKind.POSTGRES_AWAY: InjectionKind.DISCONNECT,
    FaultKind.POSTGRES_SILENT: InjectionKind.DISCONNECT,
    FaultKind.CANCEL: InjectionKind.CANCEL,
    FaultKind.FAIL: InjectionKind.CANCEL,
    FaultKind.FREEZE_HOST: InjectionKind.PAUSE,
}
"""What the history records as the kind of each simulated fault."""


class SimulatedNemesis:
    """Injects the faults of one plan into a simulated system; `injected` counts them."""

    def __init__(self, system: SimulatedSystem) -> None:
        self._system = system
        self._context = system.context
        self._scheduler = system.context.runtime.scheduler
        self.injected = 0
        self.quiet_from = (
            0.0  # when the last fault was over, in seconds; a host that stays frozen is over at once
        )
        self._given_up = round((self._context.plan.last_moment + GIVEN_UP_AFTER) * NANOSECONDS)

    def schedule(self) -> None:
        """Schedule every fault at its time, or at its point."""
        context = self._context
        for number, fault in enumerate(context.plan.faults, start=1):
            when = round(fault.at * NANOSECONDS)
            if fault.point is not None:
                context.call_faults.at_points[fault.point] = self._at_point(number, fault)
                if fault.kind is FaultKind.REDIS_FAILS_OVER:
                    self._scheduler.at(when, None, partial(context.redis.save, number))
                continue
            if fault.kind is FaultKind.REDIS_FAILS_OVER:
                self._scheduler.at(
                    max(0, when - round(fault.seconds * NANOSECONDS)),
                    None,
                    partial(context.redis.save, number),
                )
            self._scheduler.at(when, None, self._injecting(number, fault))

    def _at_point(self, number: int, fault: SimulatedFault) -> Callable[[CallPoint], PendingFault | None]:
        def strike(point: CallPoint) -> PendingFault | None:
            kind = _CALL_FAULTS.get(fault.kind)
            if kind is None:
                self._inject(number, fault)
                return None
            self._struck(number, fault, point.process)
            return PendingFault(
                kind=kind, after=point.after, skip=0, seconds=fault.seconds, strike=lambda: None
            )

        return strike

    def _injecting(self, number: int, fault: SimulatedFault) -> Callable[[], None]:
        return lambda: self._inject(number, fault)

    def _inject(self, number: int, fault: SimulatedFault) -> None:
        system, context = self._system, self._context
        match fault.kind:
            case FaultKind.KILL_POOL | FaultKind.TERMINATE_POOL:
                pool = _chosen(system.living_pools(), fault)
                if pool is None:
                    self._try_again(number, fault)
                else:
                    self._end_pool(number, fault, pool)
            case FaultKind.REDIS_FORGETS:
                self._record(number, fault)
                context.redis.forget()
            case FaultKind.REDIS_AWAY:
                self._record(number, fault)
                context.redis.go_away(fault.seconds)
            case FaultKind.REDIS_FAILS_OVER:
                self._record(number, fault)
                context.redis.fall_back(number)
            case FaultKind.REDIS_CLOCK:
                self._record(number, fault)
                context.redis.clock_error += fault.seconds
            case FaultKind.REDIS_LOSES_KEYS:
                self._record(number, fault)
                context.redis.lose_keys(fault.victim)
            case FaultKind.POSTGRES_AWAY:
                self._record(number, fault)
                context.postgres.go_away(fault.seconds)
            case FaultKind.POSTGRES_SILENT:
                process = self._victim(fault)
                if process is None:
                    self._try_again(number, fault)
                else:
                    self._record(number, fault, processes=[process], at=process.name)
                    until = self._scheduler.seconds(fault.seconds)
                    context.call_faults.silent_until[process] = until
            case FaultKind.CANCEL | FaultKind.FAIL:
                activity = system.submissions.activities.get(fault.victim)
                if activity is None:
                    self._try_again(number, fault)
                else:
                    self._record(number, fault, task=fault.victim)
                    by = system.producer.cancel
                    if fault.kind is FaultKind.FAIL and system.service is not None:
                        by = system.service.fail
                    by(fault.victim, activity)
            case _:
                self._inject_at_call(number, fault)

    def _end_pool(self, number: int, fault: SimulatedFault, pool: SimulatedPool) -> None:
        if fault.kind is FaultKind.KILL_POOL:
            processes = [pool.parent, *pool.living_workers()]
            self._record(number, fault, processes=processes, pool=pool.name)
            pool.kill()
        else:
            self._record(number, fault, pool=pool.name)
            pool.terminate()
        self._later(self._replace_pools)

    def _inject_at_call(self, number: int, fault: SimulatedFault) -> None:
        process = self._victim(fault)
        if process is None:
            self._try_again(number, fault)
            return

        def give_up() -> None:
            if call_faults.withdraw(process, pending):
                self._try_again(number, replace(fault, skip=0))

        call_faults, kind = self._context.call_faults, _CALL_FAULTS[fault.kind]
        pending = PendingFault(
            kind=kind,
            after=fault.after,
            skip=fault.skip,
            seconds=fault.seconds,
            strike=lambda: self._struck(number, fault, process),
        )
        call_faults.add(process, pending)
        process.at_exit.append(lambda _: give_up())  # the victim may end for another reason first
        self._scheduler.at(self._scheduler.seconds(AIMED_AGAIN_AFTER), None, give_up)

    def _struck(self, number: int, fault: SimulatedFault, process: Process) -> None:
        """A fault strikes at a call of this process: record it, and replace what it ends."""
        struck = [process] if _CALL_FAULTS[fault.kind] in (CallFault.KILL, CallFault.STALL) else []
        if fault.kind is FaultKind.FREEZE_HOST:
            struck = [one for one in self._context.runtime.processes if one.alive and one.host == FROZEN_HOST]
            self._scheduler.freeze(struck)
        self._record(number, fault, processes=struck, at=process.name)
        if fault.kind is FaultKind.KILL_PRODUCER:
            self._later(self._system.replace_producer)
        if fault.kind is FaultKind.KILL_PARENT:
            self._later(self._replace_pools)

    def _victim(self, fault: SimulatedFault) -> Process | None:
        system = self._system
        if fault.kind in (FaultKind.KILL_PRODUCER, FaultKind.PRODUCER_LOSES_REPLY):
            return system.producer.process if system.producer.process.alive else None
        pools = system.living_pools()
        if fault.kind is FaultKind.KILL_PARENT:
            return _chosen([pool.parent for pool in pools], fault)
        if fault.kind is FaultKind.FREEZE_HOST:
            pools = [pool for pool in pools if pool.parent.host == FROZEN_HOST]
            if fault.victim % 2:
                return _chosen([pool.parent for pool in pools], fault)
        workers = [worker for pool in pools for worker in pool.living_workers()]
        if fault.kind is FaultKind.KILL_WORKER:
            workers = [worker for worker in workers if system.count_started(worker.name) <= KILLS_PER_SLOT]
        running = [worker for worker in workers if worker.stalled_until <= self._scheduler.now]
        return _chosen(running or workers, fault)  # a stalled process makes no calls

    def _try_again(self, number: int, fault: SimulatedFault) -> None:
        """Try again soon, because there is no victim now; give up some time after the end of the plan."""
        if self._scheduler.now < self._given_up:
            self._scheduler.at(self._scheduler.seconds(RESTARTED_AFTER), None, self._injecting(number, fault))

    def _replace_pools(self) -> None:
        while sum(not pool.leaving for pool in self._system.living_pools()) < self._context.plan.pools:
            self._system.start_pool()

    def _later(self, work: Callable[[], None]) -> None:
        self._scheduler.at(self._scheduler.seconds(RESTARTED_AFTER), None, work)

    def _record(
        self, number: int, fault: SimulatedFault, *, processes: Sequence[Process] = (), **value: object
    ) -> None:
        self.injected += 1
        lasts = 0.0 if fault.kind is FaultKind.REDIS_FAILS_OVER else abs(fault.seconds)
        self.quiet_from = max(self.quiet_from, self._context.runtime.monotonic() + lasts)
        pids = [process.pid for process in processes]
        kind = INJECTIONS[fault.kind]
        seconds = LONGEST if fault.kind is FaultKind.FREEZE_HOST else fault.seconds
        value |= {"fault": number, "phase": INJECT, "kind": kind, "pids": pids, "seconds": seconds}
        self._context.recorder.record(NEMESIS, OperationType.INFO, fault.kind.value, **value)
        if (struck := self._context.call_faults.struck) is not None and "at" in value:
            self._context.cells.at_call(fault.kind, struck)
        else:
            activities = self._system.submissions.activities
            self._context.cells.at_moment(
                fault.kind, activities.get(fault.victim) if "task" in value else None
            )
        where = value.get("at") or value.get("pool") or value.get("task", "")
        preposition = {
            FaultKind.REDIS_FAILS_OVER: "to its state before the last",
            FaultKind.REDIS_CLOCK: "by",
        }
        lasting = f" {preposition.get(fault.kind, 'for')} {fault.seconds:g} s" if fault.seconds else ""
        self._context.recorder.trace_line(
            None, f"FAULT {fault.kind.value} {where}{lasting}".replace("  ", " ")
        )


def _chosen(among: Sequence[T], fault: SimulatedFault) -> T | None:
    return among[fault.victim % len(among)] if among else None
