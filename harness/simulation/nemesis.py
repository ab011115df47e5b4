"""Carries out the planned faults of a simulated run, and writes down what it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from harness.history import OperationType
from harness.simulation.context import SimulationContext
from harness.simulation.plan import FaultKind, SimulatedFault
from harness.simulation.pool import SimulatedPool
from harness.simulation.scheduler import NANOSECONDS, Process
from harness.simulation.trouble import CallFault, PendingFault

T = TypeVar("T")
RESTARTED_AFTER = 0.2  # seconds until an operator starts what was killed or stopped
AIMED_ANEW_AFTER = 1.0  # seconds after which an ambush that has not struck is set anew, for a next call
# Of the workers in one slot of a pool: each kill makes its supervisor wait twice as long before it fills that slot
# again, which is right, and would soon be the whole run.
KILLS_PER_SLOT = 3
GIVEN_UP_AFTER = 15.0  # seconds past the plan's last moment, until which a fault waits for somebody to hit

_AMBUSHES = {
    FaultKind.KILL_WORKER: CallFault.KILL,
    FaultKind.STALL_WORKER: CallFault.STALL,
    FaultKind.LOSE_REQUEST: CallFault.LOSE_REQUEST,
    FaultKind.LOSE_REPLY: CallFault.LOSE_REPLY,
    FaultKind.LATE_REQUEST: CallFault.LATE_REQUEST,
    FaultKind.PRODUCER_LOSES_REPLY: CallFault.LOSE_REPLY,
    FaultKind.KILL_PRODUCER: CallFault.KILL,
    FaultKind.KILL_PARENT: CallFault.KILL,
}


class SimulatedNemesis:
    """The faults of one plan on one stage."""

    def __init__(self, stage: SimulationContext) -> None:
        self._stage = stage
        self._scheduler = stage.runtime.scheduler
        self.injected = 0
        self._given_up = round((stage.plan.last_moment + GIVEN_UP_AFTER) * NANOSECONDS)

    def arrange(self) -> None:
        """Let every fault strike when its time comes."""
        for number, fault in enumerate(self._stage.plan.faults, start=1):
            when = round(fault.at * NANOSECONDS)
            if fault.kind is FaultKind.REDIS_FAILS_OVER:
                self._scheduler.at(
                    max(0, when - round(fault.seconds * NANOSECONDS)),
                    None,
                    partial(self._stage.redis.save, number),
                )
            self._scheduler.at(when, None, self._striking(number, fault))

    def _striking(self, number: int, fault: SimulatedFault) -> Callable[[], None]:
        return lambda: self._strike(number, fault)

    def _strike(self, number: int, fault: SimulatedFault) -> None:
        stage = self._stage
        match fault.kind:
            case FaultKind.KILL_POOL | FaultKind.TERMINATE_POOL:
                pool = _chosen(stage.living_pools(), fault)
                if pool is None:
                    self._try_again(number, fault)
                else:
                    self._end_pool(number, fault, pool)
            case FaultKind.REDIS_FORGETS:
                self._note(number, fault)
                stage.redis.forget()
            case FaultKind.REDIS_AWAY:
                self._note(number, fault)
                stage.redis.go_away(fault.seconds)
            case FaultKind.REDIS_FAILS_OVER:
                self._note(number, fault)
                stage.redis.fall_back(number)
            case FaultKind.REDIS_CLOCK:
                self._note(number, fault)
                stage.redis.clock_error += fault.seconds
            case FaultKind.POSTGRES_AWAY:
                self._note(number, fault)
                stage.postgres.go_away(fault.seconds)
            case FaultKind.CANCEL:
                activity = stage.activities.get(fault.victim)
                if activity is None:
                    self._try_again(number, fault)
                else:
                    self._note(number, fault, task=fault.victim)
                    stage.producer.cancel(fault.victim, activity)
            case _:
                self._ambush(number, fault)

    def _end_pool(self, number: int, fault: SimulatedFault, pool: SimulatedPool) -> None:
        if fault.kind is FaultKind.KILL_POOL:
            processes = [pool.parent, *pool.living_workers()]
            self._note(number, fault, processes=processes, pool=pool.name)
            pool.kill()
        else:
            self._note(number, fault, pool=pool.name)
            pool.terminate()
        self._later(self._replace_pools)

    def _ambush(self, number: int, fault: SimulatedFault) -> None:
        process = self._victim(fault)
        if process is None:
            self._try_again(number, fault)
            return

        def strike() -> None:
            struck = [process] if ill is CallFault.KILL else []
            self._note(number, fault, processes=struck, at=process.name)
            if fault.kind is FaultKind.KILL_PRODUCER:
                self._later(self._stage.replace_producer)
            if fault.kind is FaultKind.KILL_PARENT:
                self._later(self._replace_pools)

        def give_up() -> None:
            if trouble.withdraw(process, ambush):
                self._try_again(number, replace(fault, skip=0))

        trouble, ill = self._stage.trouble, _AMBUSHES[fault.kind]
        ambush = PendingFault(
            ill=ill, after=fault.after, skip=fault.skip, seconds=fault.seconds, strike=strike
        )
        trouble.lie_in_wait(process, ambush)
        process.at_exit.append(lambda _: give_up())  # something else ended the victim first
        self._scheduler.at(self._scheduler.seconds(AIMED_ANEW_AFTER), None, give_up)

    def _victim(self, fault: SimulatedFault) -> Process | None:
        stage = self._stage
        if fault.kind in (FaultKind.KILL_PRODUCER, FaultKind.PRODUCER_LOSES_REPLY):
            return stage.producer.process if stage.producer.process.alive else None
        pools = stage.living_pools()
        if fault.kind is FaultKind.KILL_PARENT:
            return _chosen([pool.parent for pool in pools], fault)
        workers = [worker for pool in pools for worker in pool.living_workers()]
        if fault.kind is FaultKind.KILL_WORKER:
            workers = [worker for worker in workers if stage.births(worker.name) <= KILLS_PER_SLOT]
        awake = [worker for worker in workers if worker.stalled_until <= self._scheduler.now]
        return _chosen(awake or workers, fault)  # who stands still makes no calls

    def _try_again(self, number: int, fault: SimulatedFault) -> None:
        """There is nothing to hit right now: soon there will be, or the tasks are all over."""
        if self._scheduler.now < self._given_up:
            self._scheduler.at(self._scheduler.seconds(RESTARTED_AFTER), None, self._striking(number, fault))

    def _replace_pools(self) -> None:
        while sum(not pool.leaving for pool in self._stage.living_pools()) < self._stage.plan.pools:
            self._stage.start_pool()

    def _later(self, work: Callable[[], None]) -> None:
        self._scheduler.at(self._scheduler.seconds(RESTARTED_AFTER), None, work)

    def _note(
        self, number: int, fault: SimulatedFault, *, processes: Sequence[Process] = (), **value: object
    ) -> None:
        self.injected += 1
        pids = [process.pid for process in processes]
        value |= {"fault": number, "phase": "inject", "pids": pids, "seconds": fault.seconds}
        self._stage.recorder.record("nemesis", OperationType.INFO, fault.kind.value, **value)
        where = value.get("at") or value.get("pool") or value.get("task", "")
        how = {FaultKind.REDIS_FAILS_OVER: "to what it knew before the last", FaultKind.REDIS_CLOCK: "by"}
        lasting = f" {how.get(fault.kind, 'for')} {fault.seconds:g} s" if fault.seconds else ""
        self._stage.recorder.tell(None, f"FAULT {fault.kind.value} {where}{lasting}".replace("  ", " "))


def _chosen(among: Sequence[T], fault: SimulatedFault) -> T | None:
    return among[fault.victim % len(among)] if among else None
