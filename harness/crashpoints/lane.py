"""A lane: one queue of the target with its producer, its pool, and a wire from each of them to each server.

Lanes run side by side. A lane lives one life after another on one pool, and starts a new pool only where one ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.crashpoints.names import CommandNames
from harness.crashpoints.points import PRODUCER, ROLES, WORKER, CommandKind, stable_name
from harness.crashpoints.producer import ClientOfAdapter, LaneProducer
from harness.environments.base import WATCHING, Endpoints, Environment, Service
from harness.environments.redis_connection import RedisConnection
from harness.environments.urls import plain_url, with_database
from harness.errors import TargetFailed
from harness.gate import GateKeeper
from harness.history import OperationType, Recorder
from harness.history.names import NEMESIS, PROMISES, RUNNER
from harness.history.promises import Promises
from harness.processes import descendants, is_alive, owner_of_port, send
from harness.run.gauge import MachineGauge
from harness.run.kept_logs import record_clock
from harness.run.patience import Movement, Patience
from harness.targets.adapter import AdapterTarget
from harness.targets.base import OperatorAction, Submission, Target, TargetSession, TargetSettings, TaskSpec
from harness.targets.guarded import GuardedSession
from harness.targets.pools import Pools, RunningPool
from harness.targets.producer import ProcessProducer
from harness.targets.promised import promised
from harness.wire import ArmedStrike, Command, Wire

_POLL_SECONDS = 0.02
# A look at the tasks costs the servers and this process more than most commands, so the looks become rarer.
_SELDOM, _SELDOMEST_SECONDS = 1.5, 0.1
# What has moved is asked for less often still: most waits are over before.
_LOOK_SECONDS = 0.5
_FRESH_TASKS = 3
_PASS_SECONDS = 3.0
_END_SECONDS = 15.0
SLOW_MACHINE = 4.0
"""How many times longer a lane waits on a slow machine."""

_REDIS_SECONDS = 10.0
# The tasks of all lanes have different numbers.
_TASKS_OF_A_LANE = 1_000_000
# A worker that is killed in the moment of its start, or a pool that cannot end: the lane starts another pool.
_WORKERS_SECONDS = 20.0
_SERVICES: tuple[Service, ...] = ("postgres", "redis")


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneSettings:
    """What all lanes of a run share. `target_name` is how a producer process finds the target. Times are seconds."""

    target_name: str
    target: Target
    lease: float = 2.0
    concurrency: int = 4
    graceful_shutdown: float = 3.0
    patience: float = 6.0
    """The least time after which an unfinished task counts as stuck, or is looked at again at the end of its lane."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanePlace:
    """Where a lane is: its number, its servers, and the folder of its history.

    `database` is the number of its database in Redis, so that it can be emptied. `fork_server` is the address of the
    fork server of the run, if it has one.
    """

    number: int
    environment: Environment
    folder: Path
    gauge: MachineGauge
    database: int = 0
    fork_server: str | None = None


class StrikeLane:
    """An open lane; `close` ends everything."""

    def __init__(self, settings: LaneSettings, place: LanePlace) -> None:
        self.settings = settings
        self._environment = place.environment
        self.database = place.database
        endpoints = place.environment.endpoints
        own = {"redis": with_database(endpoints.redis_url, place.database)} if endpoints.redis_url else {}
        self._servers = endpoints.replace(own)
        self._gauge = place.gauge
        self._name = f"lane-{place.number}"
        self._number = place.number
        self._fork_server = place.fork_server
        self.history = place.folder / self._name
        self._moved = Movement(self.history)
        self._next = place.number * _TASKS_OF_A_LANE
        self.quiet = 0.0
        """For how many seconds nothing had changed when the last wait for an end was over."""
        self._stack = ExitStack()
        self._producer: LaneProducer | None = None
        self.wires: dict[tuple[str, Service], Wire] = {}
        self.dead_letters: list[str] = []
        """The activities that may be dead letters; the verdict about a later life must not find them."""

    @classmethod
    def open(cls, settings: LaneSettings, place: LanePlace) -> Self:
        """Start wires, sessions, the producer and a pool, and let tasks pass; raises `HarnessError`."""
        lane = cls(settings, place)
        try:
            lane._open()
            for wire in lane.wires.values():
                wire.count_kinds()
            lane.recover()
        except BaseException:
            lane.close()
            raise
        return lane

    def _open(self) -> None:
        target, stack = self.settings.target, self._stack
        self.history.mkdir(parents=True)
        working = self._environment.folder / self._name
        working.mkdir(mode=0o755)
        stack.callback(shutil.rmtree, working, ignore_errors=True)
        self.gates = stack.enter_context(GateKeeper(working / "gate"))
        self._given = TargetSettings(
            queue=f"hx-{self._name}",
            folder=working,
            history=self.history,
            gate_address=self.gates.address,
            workers=1,
            concurrency=self.settings.concurrency,
            lease=self.settings.lease,
            graceful_shutdown=self.settings.graceful_shutdown,
            disposable=True,
            fork_server=self._fork_server,
        )
        self.promises: Promises = promised(target, self._given)
        needs, endpoints = getattr(target, "needs", _SERVICES), self._servers
        for role in ROLES:
            for service in (one for one in _SERVICES if one in needs):
                wire = Wire(plain_url(endpoints.url(service)), protocol=service)
                self.wires[role, service] = stack.enter_context(closing(wire))
        self._pool_session = self._session_of_pools()
        own = None if isinstance(target, AdapterTarget) else target.open(endpoints, self._given)
        if own is not None:
            stack.enter_context(closing(own))
        self._observer = own
        self.client, self.nemesis, pools, runner = (
            stack.enter_context(closing(Recorder(self.history / f"{name}.jsonl", process=name)))
            for name in ("client", NEMESIS, "pools", RUNNER)
        )
        record_clock(runner)
        runner.record(OperationType.INFO, PROMISES, **self.promises.to_value())
        self.pools = Pools(self._pool_session, pools)
        stack.callback(self._end_processes)

    def close(self) -> None:
        """End all processes and connections of the lane, and remove its data."""
        for wire in self.wires.values():
            wire.clear()
        self._stack.close()

    @property
    def observer(self) -> TargetSession:
        """The session that reads the state of the tasks; the wires to it carry no strikes at that time."""
        if self._observer is not None:
            return self._observer
        assert isinstance(self._producer, ClientOfAdapter)
        return self._producer.session

    @property
    def producer(self) -> LaneProducer:
        """The running producer."""
        assert self._producer is not None
        return self._producer

    @property
    def can_kill_producer(self) -> bool:
        """Whether the tasks are known without the producer: the client of an adapter has them in its memory."""
        return self._observer is not None

    @property
    def names(self) -> CommandNames:
        """The names of its commands."""
        better: Mapping[str, str] = getattr(self._pool_session, "command_names", dict)()
        return CommandNames(number=self._number, better=better)

    def kinds(self) -> Counter[CommandKind]:
        """How many commands of each kind the processes under test have sent."""
        names, found = self.names, Counter[CommandKind]()
        for (role, service), wire in self.wires.items():
            for (client, name), number in wire.kinds().items():
                found[CommandKind(role, service, stable_name(client), names.shown(service, name))] += number
        return Counter({kind: n for kind, n in found.items() if not kind.client.startswith(WATCHING)})

    def take(self, count: int) -> int:
        """The first of so many new numbers of tasks."""
        first = self._next + 1
        self._next += count
        return first

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks and record it; a producer that ends leaves their outcome open, and nothing is raised."""
        for task in tasks:
            given = {} if task.lock is None else {"lock": task.lock}
            self.client.record(OperationType.INVOKE, "enqueue", task=task.number, **given)
        try:
            answers = self.producer.submit(tasks)
        except TargetFailed as error:
            answers = [Submission(number=task.number, error=str(error)) for task in tasks]
        for answer in answers:
            kind = OperationType.FAIL if answer.certain else OperationType.INFO
            if answer.activity is not None:
                self.client.record(OperationType.OK, "enqueue", task=answer.number, activity=answer.activity)
            else:
                self.client.record(kind, "enqueue", task=answer.number, error=answer.error)
        return answers

    def owner(self, role: str, service: Service, port: int) -> tuple[int, RunningPool | None] | None:
        """The process whose connection to a wire comes from this port, and its pool; None if it has ended."""
        by_pid = {
            pid: pool
            for pool in (self.pools.running() if role == WORKER else ())
            for pid in (pool.pid, *descendants(pool.pid))
        }
        known = by_pid if role == WORKER or self._producer is None else self._producer.pids()
        to = self.wires[role, service].port
        # A client does not wait long, and the list of all processes is long.
        found = owner_of_port(port, known, to=to)
        if found is None:  # a process of a pool or a producer that is not up yet is below this one too
            found = owner_of_port(port, descendants(os.getpid()), to=to)
        return None if found is None else (found, by_pid.get(found))

    def unfinished(self) -> int:
        """How many tasks of the queue have not ended; seen twice if none, because a task may be between two stores."""
        found = self.observer.unfinished()
        return found or self.observer.unfinished()

    def finish(self, within: float, *, slowest: float = SLOW_MACHINE) -> bool:
        """Wait until every task has ended; False once nothing has changed for `within` seconds of the machine."""
        return self.until(lambda: False, within, slowest=slowest)

    def struck(self, armed: ArmedStrike, within: float) -> Command | None:
        """The command of a strike, once it has fallen; None after `within` seconds of the machine."""
        patience = Patience(within, self._gauge)
        while (command := armed.wait(_SELDOMEST_SECONDS)) is None and not patience.is_over:
            continue
        return command

    def until(self, holds: Callable[[], bool], within: float, *, slowest: float = SLOW_MACHINE) -> bool:
        """Wait until this holds or every task has ended; False once nothing has changed for `within` seconds."""
        patience, pause = Patience(within, self._gauge, slowest=slowest), _POLL_SECONDS
        movement: Callable[[], object] = getattr(self.observer, "movement", lambda: None)
        looked = time.monotonic()
        while (unfinished := self.unfinished()) and not holds():
            if time.monotonic() > looked + _LOOK_SECONDS:
                looked = time.monotonic()
                patience.look((unfinished, self._moved.operations(), movement()))
                self.quiet = patience.quiet
                if patience.is_over:
                    return False
            time.sleep(pause)
            pause = min(_SELDOM * pause, _SELDOMEST_SECONDS)
        self.quiet = 0.0
        return True

    def recover(self, *, fresh: bool = False) -> list[int]:
        """Start what has ended, and let a task pass through all of it; the numbers of such tasks.

        Three pass, one after another, if anything was started or a process is `fresh`: connections are open then.
        Redis has all scripts again.
        """
        self.lose_scripts(lost=False)
        fresh |= self._start_producer()
        fresh |= self.start_workers()
        return [self._pass_one() for _ in range(_FRESH_TASKS if fresh else 1)]

    def end(self, role: str) -> None:
        """Kill the producer, or the pools; nothing for an empty role."""
        if role == PRODUCER and self._producer is not None:
            self._producer.close()
        elif role == WORKER:
            self.pools.kill()

    def start(self, role: str) -> None:
        """Start the producer, or a pool, unless there is one; raises `TargetFailed`."""
        if role == PRODUCER:
            self._start_producer()
        else:
            self.start_workers()

    def empty_redis(self) -> None:
        """Remove all data of the lane in Redis."""
        with closing(RedisConnection(plain_url(self._servers.redis_url), timeout=_REDIS_SECONDS)) as redis:
            redis.call("FLUSHDB")

    def lose_scripts(self, *, lost: bool) -> None:
        """Let Redis lose its scripts for the processes of the lane, or end that."""
        for (_, service), wire in self.wires.items():
            if service == "redis":
                wire.lose_scripts(lost=lost)

    def purge(self) -> None:
        """Delete the dead letters of earlier lives."""
        if self.dead_letters:
            operate: Callable[..., object] = getattr(self.observer, "operate")  # noqa: B009 - not of the protocol
            operate(OperatorAction.PURGE, self.dead_letters)
            self.dead_letters.clear()

    def start_workers(self) -> bool:
        """Start a pool if none has workers, or once the one that is stopping has ended; whether it was necessary."""
        for pool in self.pools.running():
            if pool.is_stopping and not pool.wait(self.settings.graceful_shutdown + _END_SECONDS):
                pool.kill()
        if self._has_workers():
            return False
        self.pools.kill()
        self.pools.start()
        return True

    def _pass_one(self) -> int:
        """Let one task pass, whatever others do; its number."""
        number, before = self.take(1), self.unfinished()
        self.submit([TaskSpec(number=number)])
        self.until(lambda: self.unfinished() <= before, _PASS_SECONDS)
        return number

    def _has_workers(self) -> bool:
        deadline = time.monotonic() + _WORKERS_SECONDS
        while time.monotonic() < deadline:
            # A pool that was killed a moment ago may not be noted yet.
            pools = [pool for pool in self.pools.running() if is_alive(pool.pid)]
            if not pools or any(pool.worker_pids() for pool in pools):
                return bool(pools)
            time.sleep(_POLL_SECONDS)
        return False

    def _start_producer(self) -> bool:
        """Start the producer if it has ended; whether it had."""
        if self._producer is not None and self._producer.pids():
            return False
        if self._producer is not None:
            self._producer.close()
        target = self.settings.target
        if isinstance(target, AdapterTarget):
            session = target.open(self._endpoints(PRODUCER), self._given)
            self._producer = ClientOfAdapter(session)
        else:
            self._producer = ProcessProducer(
                self.settings.target_name, self._endpoints(PRODUCER), self._given
            )
        return True

    def _session_of_pools(self) -> GuardedSession:
        target, endpoints = self.settings.target, self._endpoints(WORKER)
        if isinstance(target, AdapterTarget):
            # The client of the producer prepares the servers, and removes the data at its end.
            session = target.attach(endpoints, self._given)
            self._stack.callback(session.client.kill)
            return GuardedSession(session)
        return self._stack.enter_context(closing(GuardedSession(target.open(endpoints, self._given))))

    def _endpoints(self, role: str) -> Endpoints:
        urls = {service: wire.url for (side, service), wire in self.wires.items() if side == role}
        return self._servers.replace(urls)

    def _end_processes(self) -> None:
        self.gates.open_all()
        self.pools.kill()
        if self._producer is not None:
            self._producer.close()


def kill(pid: int) -> None:
    """SIGKILL a process and wait for its end."""
    send([pid], signal.SIGKILL)
    deadline = time.monotonic() + _END_SECONDS
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
