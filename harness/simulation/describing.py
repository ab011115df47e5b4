"""Calls to the queue as text, for the trace of a simulated run."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from agentexec.queue.protocol import Admission, Finish, Revocations, StepResult

_UNNAMED = frozenset({"wait", "register", "registered", "known", "dead_reasons", "depth"})


def describe(call: str, asked: tuple[Finish, ...], answer: object, names: Mapping[UUID, int]) -> str | None:
    """A call to the queue as text; None if it did nothing that the trace shows."""
    if isinstance(answer, StepResult):
        return _step(asked, answer, names)
    match call, answer:
        case ("renew", (set() as lost, set() as canceled)):
            lines = [f"has lost {_task(i, names)}" for i in sorted(lost)]
            lines += [f"has to cancel {_task(i, names)}" for i in sorted(canceled)]
            return f"RENEW: {', '.join(lines)}" if lines else None
        case ("lock", (set() as parked, set() as lost)):
            lines = [f"{_task(i, names)} has to wait" for i in sorted(parked)]
            lines += [f"has lost {_task(i, names)}" for i in sorted(lost)]
            return f"LOCK: {', '.join(lines) or 'all may run'}"
        case ("release", Revocations(requeued, dead)):
            lines = [f"{_task(i, names)} is free again" for i in requeued]
            lines += [f"{_task(i, names)} is a dead letter" for i in dead]
            return f"RELEASE: {', '.join(lines)}" if lines else None
        case ("enqueue", [*answers]):
            lines = [one.name.lower() for one in answers if isinstance(one, Admission)]
            return f"ENQUEUE: {', '.join(lines)}" if lines else None
        case ("begin_rebuild", str(epoch)):
            return f"finds that Redis lost its contents; rebuilding as {epoch[:8]}"
        case ("end_rebuild", bool(done)):
            return f"has rebuilt the queue: {done}"
    return None if call in _UNNAMED or not answer else f"{call.upper()}: {answer}"


def _step(finishes: tuple[Finish, ...], answer: StepResult, names: Mapping[UUID, int]) -> str | None:
    stale = set(answer.stale)
    lines = [
        f"{'cannot end' if f in stale else f'ends ({f.disposition.value})'} {_task(f.task_id, names)} under {f.token}"
        for f in finishes
    ]
    lines += [f"revokes {_task(i, names)} from {token}" for i, token in answer.expired.requeued.items()]
    lines += [f"dead-letters {_task(i, names)}" for i in answer.expired.dead]
    lines += [f"claims {_task(c.task_id, names)} under {c.token}" for c in answer.claims]
    return f"STEP: {', '.join(lines)}" if lines else None


def _task(task_id: UUID, names: Mapping[UUID, int]) -> str:
    return f"task {names[task_id]}" if task_id in names else str(task_id)
