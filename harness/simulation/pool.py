"""A simulated pool: the supervisor in one process, the workers in others, with pipes between them."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from agentexec.core.runtime import Mailbox
from agentexec.task import Registry
from agentexec.worker.child import Died, Leaving, Post, Ready
from agentexec.worker.loop import WorkerLoop
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.process import Worker
from agentexec.worker.protocol import READY, ExitCode, StopCommand, WorkerSpec
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import Supervisor
from harness.history import OperationType
from harness.simulation.context import SimulationContext
from harness.simulation.loop import VirtualLoop
from harness.simulation.scheduler import FOREVER, Process
from harness.simulation.worker_promises import WorkerTurnover

# Seconds that an interpreter takes to start.
START_SECONDS = (0.05, 0.3)
# Seconds until a parent detects that its child has ended.
NOTICE_SECONDS = 0.001
KILLED = -9


class SimulatedPool:
    """One pool, from its start to the end of its parent."""

    def __init__(self, context: SimulationContext, number: int) -> None:
        self._context = context
        self.name = f"pool-{number}"
        self._registry = context.handlers.registry_of(number)
        self.parent = context.runtime.new_process(self.name, host=number % context.plan.hosts)
        self.workers: list[Process] = []
        self.over = False
        self.leaving = False
        self._supervisor: Supervisor | None = None
        self.parent.at_exit.append(self._ended)
        context.recorder.trace_line(self.parent, f"starts as pid {self.parent.pid}")
        context.runtime.scheduler.spawn(self.parent, self._run)

    def living_workers(self) -> list[Process]:
        """The worker processes that live."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def frozen(self) -> bool:
        """Whether its host is frozen for good."""
        return self.parent.stalled_until >= FOREVER

    def terminate(self) -> None:
        """SIGTERM to the parent."""
        self.leaving = True
        if self._supervisor is None:  # it has no signal handlers yet, so it ends
            self.kill()
        elif self.parent.alive:
            self._supervisor.stop(StopCommand.DRAIN)

    def kill(self) -> None:
        """SIGKILL to all processes."""
        for process in [self.parent, *self.living_workers()]:
            self._context.runtime.scheduler.kill(process, KILLED)

    def _run(self) -> None:
        context = self._context
        engine, queue = context.database(self.parent), context.queue(self.parent)
        self._supervisor = Supervisor(
            reference=PoolReference(module="simulated", attribute="pool"),
            expected_tasks=(),
            settings=context.settings,
            maintenance=Maintenance(
                Reconciler(engine, queue, context.settings, self._registry.fingerprints()),
                context.settings,
            ),
            start_child=self._start_child,
        )
        code = self._supervisor.run()
        context.runtime.scheduler.kill(self.parent, code)

    def _ended(self, code: int) -> None:
        self.over = True
        self._context.redis.deaths.pool_ended(self.parent, self._context.runtime.scheduler.now)
        self._context.recorder.trace_line(self.parent, f"ends with code {code}")
        self._context.recorder.record(
            self.name, OperationType.INFO, "exit", pid=self.parent.pid, code=code, pool=self.name
        )

    def _start_child(self, spec: WorkerSpec, post: Post) -> SimulatedChild:
        child = SimulatedChild(self._context, self.parent, spec, post, self._registry)
        self.workers.append(child.process)
        return child


class SimulatedChild:
    """A worker process as its parent sees it; it runs `agentexec.worker.process.Worker`."""

    def __init__(
        self, context: SimulationContext, parent: Process, spec: WorkerSpec, post: Post, registry: Registry
    ) -> None:
        runtime = context.runtime
        self._context = context
        self._parent = parent
        self._registry = registry
        self.spec = spec
        self.started = runtime.monotonic()
        self.ready = False
        self._post = post
        self.process = runtime.new_process(f"{parent.name}/{spec.slot}", host=parent.host)
        self._turnover = WorkerTurnover(context.plan.tasks_per_worker)
        self.pid = self.process.pid
        self._commands: Mailbox[StopCommand | None] = runtime.mailbox()
        scheduler = runtime.scheduler
        self.process.at_exit.append(
            lambda code: scheduler.at(
                scheduler.seconds(NOTICE_SECONDS), parent, lambda: self._post(Died(self, code))
            )
        )
        parent.at_exit.append(lambda _: self._commands.put(None))  # its end of the pipe closes
        scheduler.at(
            scheduler.seconds(runtime.uniform(*START_SECONDS)),
            self.process,
            lambda: scheduler.spawn(self.process, self._run),
        )

    def stop(self, command: StopCommand) -> None:
        self._turnover.leaves = True
        self._commands.put(command)

    def kill(self) -> None:
        """Send SIGKILL; nothing if the parent itself is dead and only its stack unwinds."""
        if self._parent.alive:
            self._context.runtime.scheduler.kill(self.process, KILLED)

    def _run(self) -> None:
        context, process = self._context, self.process
        context.recorder.trace_line(process, f"starts as pid {process.pid}")
        context.recorder.by(process, OperationType.INFO, "hello")
        scheduler, queue = context.runtime.scheduler, context.queue(process)
        worker_loop = WorkerLoop(
            worker=self.spec.name,
            queue=queue,
            engine=context.database(process),
            settings=context.settings,
            registry=self._registry,
            event_loop=VirtualLoop(scheduler, process).itself,
            report=lambda: self._judge_turnover(worker_loop.finished),
        )
        worker = Worker(
            worker_loop,
            renewing=context.queue(process),
            notify=lambda notice: self._notified(notice, worker_loop.finished),
        )
        process.at_exit.append(lambda code: self._ended(code, declared_gone=queue.declared_gone))
        try:
            finished = worker.start(self._received())
        except redis.RedisError:
            context.runtime.end_process(ExitCode.FAILED)
        finished.add_done_callback(lambda done: scheduler.kill(process, done.result()))

    def _ended(self, code: int, *, declared_gone: bool) -> None:
        context = self._context
        context.recorder.trace_line(self.process, f"ends with code {code}")
        if code not in (0, ExitCode.RECYCLED):
            context.redis.deaths.died(self.spec.name, self._parent, context.runtime.scheduler.now)
        elif not declared_gone:
            context.redis.calls.found(f"I4: {self.process.name} ends, and the queue may still answer it")

    def _judge_turnover(self, finished: int) -> None:
        now, stalled_until = self._context.runtime.scheduler.now, self.process.stalled_until
        for finding in self._turnover.after_round(finished, now, stalled_until=stalled_until):
            self._context.redis.calls.found(f"replaced: {self.process.name} {finding}")

    def _notified(self, notice: bytes, finished: int) -> None:
        if notice != READY:
            self._context.reached.add("worker-recycled")
            self._context.redis.promptness.left.append(self._context.runtime.scheduler.now)
            for finding in self._turnover.leaving(finished, asked=self._context.plan.recycles):
                self._context.redis.calls.found(f"replaced: {self.process.name} {finding}")
        self._post(Ready(self) if notice == READY else Leaving(self))

    def _received(self) -> Iterator[str]:
        while (command := self._commands.get()) is not None:
            yield command
