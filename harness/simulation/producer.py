"""A simulated producer: it enqueues through agentexec's own enqueuer, and asks again where no answer came."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from agentexec.errors import AgentexecError
from agentexec.producer.client import request_cancel
from agentexec.producer.enqueuer import Enqueuer, Entry
from agentexec.store.rows import NewActivity
from agentexec.task import encode_payload
from harness.history import OperationType
from harness.simulation.body import LOCKED, TASK_NAME, Simulated
from harness.simulation.plan import PlannedTask
from harness.simulation.primitives import VirtualEvent
from harness.simulation.scheduler import NANOSECONDS

if TYPE_CHECKING:
    from harness.simulation.context import SimulationContext

# Seconds between one try and the next. Long enough in all to outlive outages that follow one another: a producer that
# gives up earlier may leave nothing to judge.
AGAIN_AFTER = (0.2, 0.2, 0.2, 1.0, 2.0, 4.0, 8.0, 16.0)


class SimulatedProducer:
    """One process that enqueues one task after the other when its time comes, and cancels on request."""

    def __init__(self, stage: SimulationContext) -> None:
        self._stage = stage
        self.process = stage.runtime.new_process("producer")
        self._database = stage.database(self.process)
        self._queue = stage.queue(self.process)
        self.waiting = 0  # tasks that were handed in, and of which nothing was heard yet
        self._enqueuer = Enqueuer(self._database, self._queue, max_depth=0)

    def submit_at(self, task: PlannedTask) -> None:
        """Enqueue a task at its time."""
        scheduler = self._stage.runtime.scheduler
        when = round(task.at * NANOSECONDS)
        scheduler.at(when, self.process, lambda: scheduler.spawn(self.process, lambda: self._submit(task)))

    def cancel(self, number: int, activity: UUID) -> None:
        """Ask for the cancel of a task, now."""

        def ask() -> None:
            try:
                request_cancel(self._database, self._queue, [activity], "Canceled on request.")
            except Exception as error:  # noqa: BLE001 - whoever asks hears that nobody knows whether it worked
                self._stage.recorder.tell(self.process, f"cancel of task {number} failed: {error}")

        self._stage.runtime.scheduler.spawn(self.process, ask)

    def _submit(self, task: PlannedTask) -> None:
        self.waiting += 1
        self._until_answered(task)
        self.waiting -= 1

    def _until_answered(self, task: PlannedTask) -> None:
        stage, recorder = self._stage, self._stage.recorder
        name = LOCKED if task.late_lock and task.lock is not None else TASK_NAME
        context = Simulated(
            number=task.number,
            work=task.work,
            failures=task.failures,
            progress=task.progress,
            lock=task.lock,
        ).model_dump(mode="json")
        payload = encode_payload(name, context)
        for pause in AGAIN_AFTER:
            stage.attempted(task.number)
            recorder.record("client", OperationType.INVOKE, "enqueue", task=task.number)
            activity = NewActivity(
                id=stage.runtime.new_id(),
                queue_name=self._queue.name,
                task_name=name,
                context=context,
                priority=task.level,
                message="Waiting to start.",
                idempotency_key=f"task {task.number}",
                lock_key=None if task.late_lock else task.lock,
                delay=task.delay,
            )
            recorder.names[activity.id] = task.number
            answered = VirtualEvent(stage.runtime.scheduler)
            future = self._enqueuer.submit([Entry(activity, payload)])
            future.add_done_callback(lambda _, answered=answered: answered.set())  # type: ignore[misc]  # bound now
            answered.wait()
            error = future.exception()
            if error is None:
                (recorded,) = future.result()
                stage.acknowledged(task.number, recorded)
                recorder.record(
                    "client", OperationType.OK, "enqueue", task=task.number, activity=str(recorded)
                )
                return
            kind = OperationType.FAIL if isinstance(error, AgentexecError) else OperationType.INFO
            recorder.record("client", kind, "enqueue", task=task.number, error=type(error).__name__)
            stage.runtime.sleep(pause)
