"""Everything one simulated run consists of, put together."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Engine

from agentexec.queue.protocol import Queue, QueuePolicy
from harness.simulation.body import Bodies
from harness.simulation.monitor import InvariantMonitor
from harness.simulation.plan import Plan
from harness.simulation.pool import SimulatedPool
from harness.simulation.postgres_server import PostgresServer, SimulatedDatabase
from harness.simulation.producer import SimulatedProducer
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.redis_server import RedisServer, SimulatedQueue
from harness.simulation.scheduler import Process
from harness.simulation.themes import settings_of
from harness.simulation.trouble import Network, Trouble
from harness.simulation.world import VirtualRuntime


class SimulationContext:
    """The world of one plan: servers, pools, a producer, and who watches them."""

    def __init__(self, plan: Plan, world: VirtualRuntime) -> None:
        """`world` has to be the current runtime already."""
        self.plan = plan
        self.runtime = world
        self.recorder = SimulatedRecorder(self.runtime.scheduler)
        self.trouble = Trouble()
        self.monitor = InvariantMonitor(self.recorder)
        self.settings = settings_of(plan.theme, plan.workers)
        self.redis = RedisServer(self.runtime, self.monitor.look, QueuePolicy.of(self.settings))
        self.postgres = PostgresServer(self.runtime)
        self.bodies = Bodies(self.runtime.scheduler, self.recorder)
        self.pools: list[SimulatedPool] = []
        self.activities: dict[int, UUID] = {}  # what the client knows of the tasks it has enqueued
        self._unanswered = {task.number for task in plan.tasks}
        self.producer = self._new_producer()

    def queue(self, process: Process) -> Queue:
        """The queue as a process sees it."""
        return SimulatedQueue(
            self.redis, self.runtime, self.recorder, process, Network(self.runtime, process, self.trouble)
        )

    def database(self, process: Process) -> Engine:
        """The record as a process sees it."""
        network = Network(self.runtime, process, self.trouble)
        return SimulatedDatabase.as_engine(self.postgres, self.recorder, process, network)

    def start_pool(self) -> SimulatedPool:
        """One more pool, as an operator starts it."""
        pool = SimulatedPool(self, len(self.pools))
        self.pools.append(pool)
        return pool

    def living_pools(self) -> list[SimulatedPool]:
        """The pools whose parent lives."""
        return [pool for pool in self.pools if not pool.over]

    def births(self, name: str) -> int:
        """How many processes of that name there were; a worker's successor has its name."""
        return sum(process.name == name for process in self.runtime.processes)

    def replace_producer(self) -> None:
        """The producer is dead: another goes on with what was never asked for."""
        self.producer = self._new_producer()

    def attempted(self, number: int) -> None:
        """A task was handed to the enqueuer: whatever comes of it, a producer that comes later does not ask again."""
        self._unanswered.discard(number)

    def acknowledged(self, number: int, activity: UUID) -> None:
        """A producer knows that a task is recorded."""
        self.activities[number] = activity

    @property
    def all_asked(self) -> bool:
        """Whether every task was handed to an enqueuer, and no living producer waits for an answer."""
        return not self._unanswered and not self.producer.waiting

    def _new_producer(self) -> SimulatedProducer:
        producer = SimulatedProducer(self)
        for task in self.plan.tasks:
            if task.number in self._unanswered:
                producer.submit_at(task)
        return producer
