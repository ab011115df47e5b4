"""The context of one simulated run: runtime, recorder, servers and handlers, before any process is started."""

from __future__ import annotations

from sqlalchemy import Engine

from agentexec.queue.protocol import QueuePolicy
from harness.simulation.call_faults import CallFaults, Network
from harness.simulation.coverage import ReachedCells
from harness.simulation.handlers import SimulatedHandlers
from harness.simulation.monitor import InvariantMonitor
from harness.simulation.plan import FaultKind, Plan
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.redis_server import RedisServer, SimulatedQueue
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process
from harness.simulation.store_probes import StoreProbes
from harness.simulation.stores import new_store
from harness.simulation.themes import settings_of
from harness.simulation.worker_promises import SilentWorkers


class SimulationContext:
    """What all processes of a simulated run share. `harness.simulation.system` starts the processes."""

    def __init__(self, plan: Plan, runtime: VirtualRuntime) -> None:
        """`runtime` must be the current runtime of `agentexec.core.runtime` already."""
        self.plan = plan
        self.runtime = runtime
        self.recorder = SimulatedRecorder(runtime.scheduler)
        self.last_answer = 0.0  # when a client was last told that a task is enqueued, in seconds
        self.reached = set[
            str
        ]()  # names of `harness.simulation.reach`, and of other calls that faults struck
        starts = set[tuple[str, int]]()
        self.call_faults = CallFaults(reached=self.reached)
        self.monitor = InvariantMonitor(self.recorder, runtime)
        self.settings = settings_of(
            plan.theme,
            plan.workers,
            plan.hosts,
            max_depth=plan.max_depth,
            max_crashes=plan.max_crashes,
            tasks_per_worker=plan.tasks_per_worker,
        )
        self.redis = RedisServer(
            runtime,
            self.monitor.check,
            QueuePolicy.of(self.settings),
            reached=self.reached,
            starts=starts,
            slots=self.settings.worker_concurrency,
        )
        if any(fault.kind is FaultKind.POSTGRES_SILENT for fault in plan.faults):
            self.redis.silence = SilentWorkers(self.settings.lease_seconds)
        silent_until = self.call_faults.silent_until
        self.redis.probes.is_silent = lambda process: silent_until.get(process, 0) > runtime.scheduler.now
        ends = self.redis.refused_ends
        self.store_probes = StoreProbes(
            self.reached, starts, lambda lease: ends.refused(lease, runtime.scheduler.now)
        )
        self.postgres = new_store(runtime, self.store_probes)
        self.cells = ReachedCells(self.redis, self.postgres)
        self.handlers = SimulatedHandlers(runtime.scheduler, self.recorder, two_versions=plan.two_versions)

    def queue(self, process: Process) -> SimulatedQueue:
        """A connection of a process to the queue."""
        return SimulatedQueue(self.redis, self.runtime, self.recorder, process, self._network(process))

    def database(self, process: Process) -> Engine:
        """A connection of a process to the activity store."""
        return self.postgres.engine_of(self.recorder, process, self._network(process))

    def _network(self, process: Process) -> Network:
        return Network(self.runtime, process, self.call_faults)
