"""Redis in a simulation: the queue in memory, which the contract suite and the machines hold to the Lua scripts."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar
from uuid import UUID

import redis

from agentexec.errors import AgentexecError
from agentexec.queue.protocol import Admission, Dispatch, Finish, QueueDepth, Revoked, StepResult
from harness.simulation.call_faults import LostCall, Network
from harness.simulation.describing import describe
from harness.simulation.queue.books import Books
from harness.simulation.queue.memory_queue import MemoryQueue
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process, Wakeup

T = TypeVar("T")
Watcher = Callable[[Books, str], None]


class RedisServer:
    """One server for all simulated processes. Its clock may go wrong, it may be away, and it may forget."""

    def __init__(self, runtime: VirtualRuntime, watch: Watcher) -> None:
        """`watch` sees the books after every call, with the name of the call."""
        self._runtime = runtime
        self._watch = watch
        self.clock_error = 0.0  # seconds by which its clock is fast
        self.away_until = 0
        self.waiters: list[Wakeup] = []
        self.memory = MemoryQueue("simulated", clock=self._clock)
        self._saved: dict[int, Books] = {}

    def serve(self, call: str, work: Callable[[], T]) -> T:
        """Run one script, as it arrives; raises what redis-py raises where the server is away."""
        if self.away_until > self._runtime.scheduler.now:
            raise redis.ConnectionError("simulated: the server is away")
        answer = work()
        self._watch(self.memory.books, call)
        self._runtime.scheduler.wake(self.waiters, self.memory.books.wake)
        return answer

    def go_away(self, seconds: float) -> None:
        """Answer nobody for so long."""
        self.away_until = max(self.away_until, self._runtime.scheduler.seconds(seconds))

    def forget(self) -> None:
        """Lose everything, as FLUSHALL and a restart without persistence do."""
        self.memory.drop()

    def save(self, number: int) -> None:
        """For the failover of that number: what a replica, or a file that is written once a second, knows."""
        self._saved[number] = copy.deepcopy(self.memory.books)

    def fall_back(self, number: int) -> None:
        """Know only what was saved for that failover: acknowledged writes are lost."""
        self.memory.restore(self._saved.pop(number))

    def _clock(self) -> float:
        return self._runtime.unix() + self.clock_error


class SimulatedQueue:
    """The queue as one process sees it, at the other end of a network."""

    def __init__(
        self,
        server: RedisServer,
        runtime: VirtualRuntime,
        recorder: SimulatedRecorder,
        process: Process,
        network: Network,
    ) -> None:
        self._recorder = recorder
        self._process = process
        self._server = server
        self._runtime = runtime
        self._network = network
        self._memory = server.memory

    @property
    def name(self) -> str:
        """See `Queue.name`."""
        return self._memory.name

    def enqueue(
        self, tasks: Sequence[Dispatch], *, max_depth: int = 0, healing: bool = False
    ) -> list[Admission]:
        """See `Queue.enqueue`."""
        return self._call(
            "enqueue",
            lambda: self._memory.enqueue(tasks, max_depth=max_depth, healing=healing),
            trip=bool(tasks),
        )

    def step(
        self,
        worker: str,
        nonce: str,
        *,
        finishes: Sequence[Finish],
        want: int,
        lease: float,
        max_crashes: int,
        lowest_token: int = 0,
        results: Mapping[UUID, str] = MappingProxyType({}),
        result_ttl: int = 3600,
    ) -> StepResult:
        """See `Queue.step`."""
        return self._call(
            "step",
            lambda: self._memory.step(
                worker,
                nonce,
                finishes=finishes,
                want=want,
                lease=lease,
                max_crashes=max_crashes,
                lowest_token=lowest_token,
                results=results,
                result_ttl=result_ttl,
            ),
            asked=tuple(finishes),
        )

    def result(self, task_id: UUID) -> str | None:
        """See `Queue.result`."""
        return self._call("result", lambda: self._memory.result(task_id))

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        """See `Queue.lock`."""
        return self._call("lock", lambda: self._memory.lock(claims), trip=bool(claims))

    def renew(self, worker: str, leases: Mapping[UUID, int], *, lease: float) -> tuple[set[UUID], set[UUID]]:
        """See `Queue.renew`."""
        return self._call("renew", lambda: self._memory.renew(worker, leases, lease=lease))

    def release(
        self,
        worker: str,
        leases: Mapping[UUID, int] | None,
        *,
        charge: bool,
        max_crashes: int,
        declare_gone: bool,
    ) -> tuple[list[Revoked], list[Revoked]]:
        """See `Queue.release`."""
        return self._call(
            "release",
            lambda: self._memory.release(
                worker, leases, charge=charge, max_crashes=max_crashes, declare_gone=declare_gone
            ),
            trip=leases is None or bool(leases) or declare_gone,
        )

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """See `Queue.request_cancel`."""
        return self._call(
            "request_cancel", lambda: self._memory.request_cancel(task_ids), trip=bool(task_ids)
        )

    def wait(self, timeout: float) -> bool:
        """See `Queue.wait`."""
        if timeout <= 0:
            return False
        books, scheduler = self._memory.books, self._runtime.scheduler
        if not books.wake:
            scheduler.wait(self._server.waiters, timeout)
        return self._call("wait", self._take_wake_token)

    def wake(self, count: int = 1) -> None:
        """See `Queue.wake`."""
        self._call("wake", lambda: self._memory.wake(count))

    def depth(self) -> QueueDepth:
        """See `Queue.depth`."""
        return self._call("depth", self._memory.depth)

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """See `Queue.known`."""
        return self._call("known", lambda: self._memory.known(task_ids), trip=bool(task_ids))

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        """See `Queue.dead_reasons`."""
        return self._call("dead_reasons", lambda: self._memory.dead_reasons(task_ids), trip=bool(task_ids))

    def begin_rebuild(self, proposal: str) -> str | None:
        """See `Queue.begin_rebuild`."""
        return self._call("begin_rebuild", lambda: self._memory.begin_rebuild(proposal))

    def end_rebuild(self, name: str) -> bool:
        """See `Queue.end_rebuild`."""
        return self._call("end_rebuild", lambda: self._memory.end_rebuild(name))

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        """See `Queue.agree`."""
        return self._call("agree", lambda: self._memory.agree(values))

    def register(self, worker: str, identity: str) -> None:
        """See `Queue.register`."""
        self._call("register", lambda: self._memory.register(worker, identity))

    def registered(self) -> dict[str, str]:
        """See `Queue.registered`."""
        return self._call("registered", self._memory.registered)

    def drop(self) -> None:
        """See `Queue.drop`."""
        self._call("drop", self._memory.drop)

    def _take_wake_token(self) -> bool:
        return bool(self._memory.books.wake) and self._memory.wait(0.001)

    def _call(
        self, name: str, work: Callable[[], T], asked: tuple[Finish, ...] = (), *, trip: bool = True
    ) -> T:
        """One script, there and back. Where nothing is asked for, `RedisQueue` makes no `trip` either: such a call
        takes no time, and no fault can strike at it.
        """
        if not trip:
            return work()
        try:
            late = self._network.request()
            if late is not None:
                self._arrive_late(name, work, asked, late)
                raise LostCall
            answer = self._server.serve(name, work)
            self._tell(name, asked, answer)
            self._network.reply()
            return answer
        except LostCall:
            self._recorder.tell(self._process, f"gets no reply to {name.upper()}")
            raise redis.ConnectionError("simulated: no reply came") from None

    def _tell(self, name: str, asked: tuple[Finish, ...], answer: object, *, late: bool = False) -> None:
        if self._recorder.trace is not None:
            said = describe(name, asked, answer, self._recorder.names)
            if said is not None:
                self._recorder.tell(self._process, f"late: {said}" if late else said)

    def _arrive_late(
        self, name: str, work: Callable[[], object], asked: tuple[Finish, ...], seconds: float
    ) -> None:
        """The request is on its way still when its sender has given up, and when its sender is dead."""

        def arrive() -> None:
            self._tell(name, asked, self._server.serve(name, work), late=True)

        def safely() -> None:
            with contextlib.suppress(AgentexecError, redis.RedisError):  # its sender does not listen any more
                arrive()

        scheduler = self._runtime.scheduler
        scheduler.at(scheduler.seconds(seconds), None, safely)
