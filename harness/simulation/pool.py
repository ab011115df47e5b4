"""A simulated pool: the supervisor in one process, the workers in others, with pipes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis

from agentexec.core.runtime import Mailbox
from agentexec.worker.child import ChildEvent, Died, Leaving, Ready
from agentexec.worker.process import Connections, Worker
from agentexec.worker.protocol import DRAIN, NOW
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import StopCommand, Supervisor
from harness.history import OperationType
from harness.simulation.context import SimulationContext
from harness.simulation.loop import VirtualLoop
from harness.simulation.scheduler import Process

BIRTH = (0.05, 0.3)  # seconds that an interpreter takes to start
NOTICE = 0.001  # seconds until a parent sees that its child is dead
KILLED = -9


class SimulatedPool:
    """One pool, from its start to the end of its parent."""

    def __init__(self, stage: SimulationContext, number: int) -> None:
        self._stage = stage
        self.name = f"pool-{number}"
        self.parent = stage.runtime.new_process(self.name, host=number % stage.plan.hosts)
        self.workers: list[Process] = []
        self.over = False
        self.leaving = False
        self._supervisor: Supervisor | None = None
        self.parent.at_exit.append(self._ended)
        stage.recorder.tell(self.parent, f"starts as pid {self.parent.pid}")
        stage.runtime.scheduler.spawn(self.parent, self._run)

    def living_workers(self) -> list[Process]:
        """The worker processes that live."""
        return [worker for worker in self.workers if worker.alive]

    def terminate(self) -> None:
        """SIGTERM to the parent."""
        self.leaving = True
        if self._supervisor is None:  # before it has handlers for signals, it just ends
            self.kill()
        elif self.parent.alive:
            self._supervisor.order(StopCommand.DRAIN)

    def kill(self) -> None:
        """SIGKILL to all processes."""
        for process in [self.parent, *self.living_workers()]:
            self._stage.runtime.scheduler.kill(process, KILLED)

    def _run(self) -> None:
        stage = self._stage
        engine, queue = stage.database(self.parent), stage.queue(self.parent)
        self._supervisor = Supervisor(
            reference=PoolReference(module="simulated", attribute="pool"),
            expect=[],
            settings=stage.settings,
            healer=Reconciler(engine, queue, stage.settings),
            start_child=self._start_child,
        )
        code = self._supervisor.run()
        stage.runtime.scheduler.kill(self.parent, code)

    def _ended(self, code: int) -> None:
        self.over = True
        self._stage.recorder.tell(self.parent, f"ends with code {code}")
        self._stage.recorder.record(
            self.name, OperationType.INFO, "exit", pid=self.parent.pid, code=code, pool=self.name
        )

    def _start_child(
        self,
        *,
        name: str,
        slot: int,
        reference: PoolReference,
        expect: list[str],
        post: Callable[[ChildEvent], None],
    ) -> SimulatedChild:
        child = SimulatedChild(self._stage, self.parent, name=name, slot=slot, post=post)
        self.workers.append(child.process)
        return child


class SimulatedChild:
    """A worker process as its parent sees it; what it runs is `agentexec.worker.process.Worker`."""

    def __init__(
        self,
        stage: SimulationContext,
        parent: Process,
        *,
        name: str,
        slot: int,
        post: Callable[[ChildEvent], None],
    ) -> None:
        runtime = stage.runtime
        self._stage = stage
        self._parent = parent
        self.name = name
        self.slot = slot
        self.started = runtime.monotonic()
        self.ready = False
        self._post = post
        self.process = runtime.new_process(f"{parent.name}/{slot}", host=parent.host)
        self._orders: Mailbox[str | None] = runtime.mailbox()
        scheduler = runtime.scheduler
        self.process.at_exit.append(
            lambda code: scheduler.at(scheduler.seconds(NOTICE), parent, lambda: self._post(Died(self, code)))
        )
        parent.at_exit.append(lambda _: self._orders.put(None))  # its end of the pipe closes
        scheduler.at(
            scheduler.seconds(runtime.uniform(*BIRTH)),
            self.process,
            lambda: scheduler.spawn(self.process, self._run),
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def drain(self) -> None:
        """Let running tasks finish, then end."""
        self._orders.put(DRAIN)

    def stop_now(self) -> None:
        """Cancel running tasks, give their leases back, then end."""
        self._orders.put(NOW)

    def kill(self) -> None:
        """SIGKILL; nothing where the parent is dead itself, and only its stack unwinds."""
        if self._parent.alive:
            self._stage.runtime.scheduler.kill(self.process, KILLED)

    def _run(self) -> None:
        stage, process = self._stage, self.process
        stage.recorder.tell(process, f"starts as pid {process.pid}")
        stage.recorder.by(process, OperationType.INFO, "hello")
        scheduler = stage.runtime.scheduler
        queue = stage.queue(process)
        worker = Worker(
            name=self.name,
            settings=stage.settings,
            registry=stage.handlers.registry,
            links=Connections(queue=queue, renewing=stage.queue(process), database=stage.database(process)),
            loop=VirtualLoop(scheduler, process).itself,
            ready=lambda: self._tell(Ready(self)),
            leaving=lambda: self._tell(Leaving(self)),
            report=lambda: None,
        )
        process.at_exit.append(lambda code: stage.recorder.tell(process, f"ends with code {code}"))
        try:
            finished = worker.start(self._heard())
        except redis.RedisError:  # an interpreter ends with 1 when nobody takes an exception
            stage.runtime.end_process(1)
        finished.add_done_callback(lambda done: scheduler.kill(process, done.result()))

    def _heard(self) -> Iterator[str]:
        while (order := self._orders.get()) is not None:
            yield order

    def _tell(self, event: ChildEvent) -> None:
        self._post(event)
