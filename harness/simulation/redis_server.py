"""Redis in a simulation: the memory queue, which the contract suite compares with the Lua scripts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import redis

from agentexec.errors import AgentexecError, WorkerGone
from agentexec.queue.protocol import (
    Admission,
    Dispatch,
    QueueDepth,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
)
from harness.simulation.call_faults import LostCall, Network, Request
from harness.simulation.call_promises import CallPromises
from harness.simulation.describing import describe
from harness.simulation.promptness import Promptness
from harness.simulation.queue.books import Books
from harness.simulation.queue.memory_queue import MemoryQueue
from harness.simulation.queue_probes import QueueProbes
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process, Wakeup
from harness.simulation.worker_promises import RefusedEnds, SilentWorkers, WorkerDeaths

T = TypeVar("T")
# What may be lost without the rest. The keys of the tasks name each other, and those of workers do, so that all of them
# are lost together: nothing would ever remove what is left of a task or a dead worker.
_OF_TASKS = (
    "job",
    "ready",
    "sched",
    "lease",
    "holder",
    "dlq",
    "reason",
    "crash",
    "cancel",
    "part",
    "busy",
    "parked",
)
LOSSES = (
    (*_OF_TASKS, "suspect", "alone", "unknown"),
    ("fence",),
    ("last",),
    ("gone",),
    ("workers",),
    ("last", "workers", "seen"),
    ("crash", "suspect"),
    ("cancel",),
    ("names",),
    ("wake",),
    (*_OF_TASKS, "suspect", "alone", "unknown", "fence", "last", "workers", "seen"),
)
"""The keys of a queue that a fault may lose together, by the names of the fields of `Books`."""

Watcher = Callable[[Books, str], None]


class RedisServer:
    """One server for all simulated processes. It can have a wrong clock, be unreachable, and lose its contents."""

    def __init__(
        self,
        runtime: VirtualRuntime,
        watch: Watcher,
        policy: QueuePolicy | None = None,
        *,
        reached: set[str] | None = None,
        starts: set[tuple[str, int]] | None = None,
        slots: int = 1,
    ) -> None:
        """`watch` gets the books after every call, with the name of the call. `policy` is that of all processes.

        `reached` and `starts` are those of `QueueProbes`, `slots` those of each worker.
        """
        self._runtime = runtime
        self._watch = watch
        self.clock_error = 0.0  # seconds by which its clock is fast
        self.away_until = 0
        self.waiters: list[Wakeup] = []
        self.reached = set[str]() if reached is None else reached
        self.probes = QueueProbes(self.reached, set() if starts is None else starts, self._clock)
        self.memory = MemoryQueue("simulated", policy, clock=self._clock)
        self.calls = CallPromises(self.memory.policy.max_depth)
        self.promptness = Promptness(slots)
        self.deaths = WorkerDeaths()
        self.refused_ends = RefusedEnds()
        self.silence: SilentWorkers | None = None  # of plans in which Postgres is silent
        self._saved: dict[int, Books] = {}

    def serve(
        self, call: str, work: Callable[..., T], by: Process | None, arguments: Sequence[Any], **options: Any
    ) -> T:
        """Run one script for a process; raises redis-py's ConnectionError while the server is away."""
        if self.away_until > self._runtime.scheduler.now:
            self.reached.add(f"{call}-while-redis-is-away")
            raise redis.ConnectionError("simulated: the server is away")
        books = self.memory.books
        before = self.probes.before(call, books, arguments)
        kept = self.calls.before(call, books, arguments)
        try:
            answer = work(*arguments, **options)
        except WorkerGone:
            self.reached.add("step-of-dead-worker")
            raise
        self.probes.after(call, books, before, answer, by, *arguments, **options)
        self.calls.after(call, books, kept, arguments, options, answer=answer)
        self.promptness.note(books, self._runtime.scheduler.now)
        if self.silence is not None:
            self.silence.note(books, self._runtime.scheduler.now)
        if call == "release" and options.get("declare_gone"):
            self.deaths.released(arguments[0], self._runtime.scheduler.now)
        if isinstance(answer, StepResult):
            self.refused_ends.expired(answer.expired.requeued, self._runtime.scheduler.now)
            if by is not None:
                self.promptness.claimed(answer, by, self._runtime.scheduler.now)
        self._watch(books, call)
        self._runtime.scheduler.wake(self.waiters, books.wake)
        return answer

    def go_away(self, seconds: float) -> None:
        """Answer no call for this number of seconds."""
        self.away_until = max(self.away_until, self._runtime.scheduler.seconds(seconds))

    def forget(self) -> None:
        """Lose everything, as FLUSHALL and a restart without persistence do."""
        self.memory.drop()
        self.probes.has_lost_contents = True

    def lose_keys(self, number: int) -> None:
        """Lose one of the `LOSSES`, as a server does that evicts keys; the epoch of the queue stays."""
        keys = LOSSES[number % len(LOSSES)]
        if "job" in keys:
            self.probes.lost_tasks.update(self.memory.books.job)
        self.memory.lose(keys)

    def save(self, number: int) -> None:
        """Save the contents of a replica, to which the failover of this number falls back."""
        self._saved[number] = self.memory.books.copied()

    def fall_back(self, number: int) -> None:
        """Restore the contents that were saved for this failover: later acknowledged writes are lost."""
        self.memory.restore(self._saved.pop(number))
        self.probes.has_lost_contents = True

    def _clock(self) -> float:
        return self._runtime.unix() + self.clock_error


class SimulatedQueue:
    """The queue of one process, which reaches it through a simulated network."""

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
        self._rebuilding: str | None = None
        self.declared_gone = False  # whether it has said with an answered call that its worker is gone

    @property
    def name(self) -> str:
        return self._memory.name

    @property
    def policy(self) -> QueuePolicy:
        return self._memory.policy

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:
        work = self._memory.enqueue
        if from_reconciler and self._rebuilding is None:
            self._server.calls.found(
                f"room: {self._process.name} dispatches past the depth, and rebuilds nothing"
            )
        return self._call("enqueue", work, tasks, trip=bool(tasks), from_reconciler=from_reconciler)

    def step(self, request: StepRequest) -> StepResult:
        return self._call("step", self._memory.step, request)

    def result(self, task_id: UUID) -> str | None:
        return self._call("result", self._memory.result, task_id)

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        return self._call("lock", self._memory.lock, claims, trip=bool(claims))

    def renew(self, worker: str, leases: Tokens) -> tuple[set[UUID], set[UUID]]:
        return self._call("renew", self._memory.renew, worker, leases)

    def release(
        self,
        worker: str | None,
        leases: Tokens | None,
        *,
        charge: bool = False,
        begun: bool = True,
        declare_gone: bool = False,
    ) -> Revocations:
        revoked = self._call(
            "release",
            self._memory.release,
            worker,
            leases,
            trip=leases is None or bool(leases) or declare_gone,
            charge=charge,
            begun=begun,
            declare_gone=declare_gone,
        )
        self.declared_gone = self.declared_gone or declare_gone
        return revoked

    def leases_of(self, worker: str) -> dict[UUID, int]:
        return self._call("leases_of", self._memory.leases_of, worker)

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        return self._call("request_cancel", self._memory.request_cancel, task_ids, trip=bool(task_ids))

    def wait(self, timeout: float) -> bool:
        if timeout <= 0:
            return False
        books, scheduler = self._memory.books, self._runtime.scheduler
        if not books.wake:
            scheduler.wait(self._server.waiters, timeout)
        return self._call("wait", self._take_wake_token)

    def depth(self) -> QueueDepth:
        return self._call("depth", self._memory.depth)

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        return self._call("known", self._memory.known, task_ids, trip=bool(task_ids))

    def leases(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        return self._call("leases", self._memory.leases, task_ids, trip=bool(task_ids))

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        return self._call("dead_reasons", self._memory.dead_reasons, task_ids, trip=bool(task_ids))

    def begin_rebuild(self, proposal: str) -> str | None:
        self._rebuilding = self._call("begin_rebuild", self._memory.begin_rebuild, proposal)
        return self._rebuilding

    def end_rebuild(self, name: str) -> bool:
        return self._call("end_rebuild", self._memory.end_rebuild, name)

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        return self._call("agree", self._memory.agree, values)

    def announce(self, fingerprints: Mapping[str, str]) -> None:
        self._call("announce", self._memory.announce, fingerprints, trip=bool(fingerprints))

    def announced(self) -> dict[str, set[str]]:
        return self._call("announced", self._memory.announced)

    def hand_back(
        self, claims: Mapping[UUID, tuple[int, str, str]], *, limit: float, delay: float
    ) -> tuple[set[UUID], set[UUID]]:
        work = self._memory.hand_back
        return self._call("hand_back", work, claims, trip=bool(claims), limit=limit, delay=delay)

    def register(self, worker: str, identity: str) -> None:
        self._call("register", self._memory.register, worker, identity)

    def registered(self) -> dict[str, str]:
        return self._call("registered", self._memory.registered)

    def adopt(self, store: str, *, force: bool = False) -> str | None:
        return self._call("adopt", self._memory.adopt, store, force=force)

    def _take_wake_token(self) -> bool:
        return bool(self._memory.books.wake) and self._memory.wait(0.001)

    def _call(
        self, name: str, work: Callable[..., T], *arguments: Any, trip: bool = True, **options: Any
    ) -> T:
        """Run one script on the server and return its answer.

        Without a `trip` the call takes no time and no fault affects it: `RedisQueue` sends nothing for it either.
        """
        if not trip:
            return work(*arguments, **options)
        request = Request(name.replace("_", "-"), arguments)
        try:
            late = self._network.request(request)
            if late is not None:
                self._arrive_late(name, work, arguments, options, late)
                raise LostCall
            answer = self._server.serve(name, work, self._process, arguments, **options)
            self._trace(name, arguments, answer)
            self._network.reply(request.name, request=request)
            return answer
        except LostCall:
            self._recorder.trace_line(self._process, f"gets no reply to {name.upper()}")
            raise redis.ConnectionError("simulated: no reply came") from None

    def _trace(self, name: str, arguments: Sequence[Any], answer: object, *, late: bool = False) -> None:
        if self._recorder.trace is not None:
            asked = tuple(arguments[0].finishes) if name == "step" else ()
            line = describe(name, asked, answer, self._recorder.names)
            if line is not None:
                self._recorder.trace_line(self._process, f"late: {line}" if late else line)

    def _arrive_late(
        self,
        name: str,
        work: Callable[..., object],
        arguments: Sequence[Any],
        options: Mapping[str, Any],
        seconds: float,
    ) -> None:
        """Deliver the request after its sender gave up or died."""

        def arrive() -> None:
            answer = self._server.serve(name, work, self._process, arguments, **options)
            self._server.probes.late(name, answer)
            self._trace(name, arguments, answer, late=True)

        def safely() -> None:
            with contextlib.suppress(AgentexecError, redis.RedisError):  # no process receives the error
                arrive()

        scheduler = self._runtime.scheduler
        scheduler.at(scheduler.seconds(seconds), None, safely)
