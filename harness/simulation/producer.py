"""A simulated producer: it enqueues through agentexec's own enqueuer and retries after a failure."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from uuid import UUID

from agentexec.errors import AgentexecError, IdempotencyConflict, QueueFull
from agentexec.producer.client import request_cancel
from agentexec.producer.enqueuer import Enqueuer, PreparedTask
from agentexec.store.rows import NewActivity
from agentexec.task import encode_payload
from harness.history import OperationType
from harness.history.figures import NANOSECONDS
from harness.history.names import CANCEL
from harness.simulation.context import SimulationContext
from harness.simulation.handlers import SimulatedTask, name_of
from harness.simulation.plan import HandlerEnd, Plan, PlannedTask
from harness.simulation.primitives import VirtualEvent

# Seconds between attempts. Together they are longer than several outages in a row. If a producer gives up earlier, a
# run may have no task at all.
AGAIN_AFTER = (0.2, 0.2, 0.2, 1.0, 2.0, 4.0, 8.0, 16.0)


class PlannedSubmissions:
    """The progress of submitting a plan's tasks; it outlives the producer that submits them."""

    def __init__(self, plan: Plan) -> None:
        self.outstanding = {task.number: task for task in plan.tasks}
        self.activities: dict[int, UUID] = {}

    def attempted(self, number: int) -> None:
        """A task was submitted; a later producer does not submit it again, whatever the outcome."""
        self.outstanding.pop(number, None)

    def acknowledged(self, number: int, activity: UUID) -> None:
        """The producer received the activity of a task."""
        self.activities[number] = activity


class SimulatedProducer:
    """One process that enqueues each outstanding task at its time, and cancels tasks on request."""

    def __init__(self, context: SimulationContext, submissions: PlannedSubmissions) -> None:
        self._context = context
        self._submissions = submissions
        self.process = context.runtime.new_process("producer")
        self._database = context.database(self.process)
        self._queue = context.queue(self.process)
        self.waiting = 0  # submitted tasks without a reply
        self._unfit = {task.number for task in context.plan.tasks if task.end is HandlerEnd.UNFIT}
        self._enqueuer = Enqueuer(self._database, self._queue)
        for task in submissions.outstanding.values():
            self._submit_at(task)

    def _submit_at(self, task: PlannedTask) -> None:
        scheduler = self._context.runtime.scheduler
        submits = [(task.at, self._submit)]
        submits += [(task.at + task.resend, self._submit)] if task.resend else []
        submits += [(task.at + task.conflict, self._submit_another)] if task.conflict else []
        for moment, submit in submits:
            work = partial(submit, task)
            scheduler.at(
                round(moment * NANOSECONDS), self.process, partial(scheduler.spawn, self.process, work)
            )

    def cancel(self, number: int, activity: UUID) -> None:
        """Request the cancellation of a task now."""

        def request() -> None:
            recorder = self._context.recorder
            try:
                taken = request_cancel(
                    self._database, lambda _: self._queue, [activity], "Canceled on request."
                )
                # It had not ended. One that never runs may have an end of its own before that, which no run shows.
                if activity in taken and number not in self._unfit:
                    recorder.record("client", OperationType.OK, CANCEL, task=number, activity=str(activity))
            except Exception as error:  # noqa: BLE001 - its outcome is unknown, as for any caller
                recorder.trace_line(self.process, f"cancel of task {number} failed: {error}")

        self._context.runtime.scheduler.spawn(self.process, request)

    def _submit_another(self, task: PlannedTask) -> None:
        """Use the key of a recorded task for one with another name, which has to be refused."""
        if task.number not in self._submissions.activities:
            return
        future = self._handed_in(f"not {name_of(task)}", task, {})
        error = future.exception()
        if error is None or (
            isinstance(error, AgentexecError) and not isinstance(error, IdempotencyConflict)
        ):
            outcome = error or future.result()
            self._context.redis.calls.found(
                f"key: another task under the key of task {task.number}: {outcome}"
            )
        elif isinstance(error, IdempotencyConflict):
            self._context.reached.add("key-of-another-task")

    def _submit(self, task: PlannedTask) -> None:
        self.waiting += 1
        self._until_answered(task)
        self.waiting -= 1

    def _until_answered(self, task: PlannedTask) -> None:
        runtime, recorder = self._context.runtime, self._context.recorder
        name = name_of(task)
        context = {field: getattr(task, field) for field in SimulatedTask.model_fields}
        if task.end is HandlerEnd.UNFIT:
            del context["work"]
        options: dict[str, object] = {"delay": task.delay or None, "lock": lock_of(task)}
        given = {name: value for name, value in options.items() if value is not None}
        for pause in AGAIN_AFTER:
            self._submissions.attempted(task.number)
            recorder.record(
                "client", OperationType.INVOKE, "enqueue", task=task.number, key=key_of(task), **given
            )
            future = self._handed_in(name, task, context)
            error = future.exception()
            if error is None:
                (recorded,) = future.result()
                self._submissions.acknowledged(task.number, recorded)
                self._context.last_answer = runtime.monotonic()
                recorder.record(
                    "client", OperationType.OK, "enqueue", task=task.number, activity=str(recorded)
                )
                return
            # What a full queue refused is recorded all the same.
            refused = isinstance(error, AgentexecError) and not isinstance(error, QueueFull)
            kind = OperationType.FAIL if refused else OperationType.INFO
            recorder.record("client", kind, "enqueue", task=task.number, error=type(error).__name__)
            runtime.sleep(pause)

    def _handed_in(self, name: str, task: PlannedTask, context: Mapping[str, object]) -> Future[list[UUID]]:
        """Enqueue a task under this name and with this context; returns once it is answered."""
        runtime, payload = self._context.runtime, encode_payload(name, context)
        activity = NewActivity(
            id=runtime.new_id(),
            queue_name=self._queue.name,
            task_name=name,
            context=context,
            priority=task.level,
            message="Waiting to start.",
            idempotency_key=key_of(task),
            lock_key=lock_of(task),
            delay=task.delay,
        )
        self._context.recorder.names[activity.id] = task.number
        answered = VirtualEvent(runtime.scheduler)
        future = self._enqueuer.submit([PreparedTask(activity, payload, len(payload))])
        future.add_done_callback(lambda _: answered.set())
        answered.wait()
        return future


def key_of(task: PlannedTask) -> str:
    """The idempotency key of a task."""
    return f"task {task.number}"


def lock_of(task: PlannedTask) -> str | None:
    """The lock key that a producer sends."""
    return None if task.late_lock else task.lock
