"""What a call to the queue did, in words."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from agentexec.queue.protocol import Admission, Finish, StepResult

_UNNAMED = frozenset({"wait", "register", "registered", "known", "dead_reasons", "depth"})


def describe(call: str, asked: tuple[Finish, ...], answer: object, names: Mapping[UUID, int]) -> str | None:
    """What a call to the queue did, in words; None where that is not worth a line."""
    if isinstance(answer, StepResult):
        return _step(asked, answer, names)
    match call, answer:
        case ("renew", (set() as lost, set() as canceled)):
            said = [f"has lost {_task(i, names)}" for i in sorted(lost)]
            said += [f"is to cancel {_task(i, names)}" for i in sorted(canceled)]
            return f"RENEW: {', '.join(said)}" if said else None
        case ("lock", (set() as parked, set() as lost)):
            said = [f"{_task(i, names)} has to wait" for i in sorted(parked)]
            said += [f"has lost {_task(i, names)}" for i in sorted(lost)]
            return f"LOCK: {', '.join(said) or 'all may run'}"
        case ("release", (list() as released, list() as dead)):
            said = [f"{_task(one.task_id, names)} is free again" for one in released]
            said += [f"{_task(one.task_id, names)} is dead" for one in dead]
            return f"RELEASE: {', '.join(said)}" if said else None
        case ("enqueue", [*answers]):
            said = [one.name.lower() for one in answers if isinstance(one, Admission)]
            return f"ENQUEUE: {', '.join(said)}" if said else None
        case ("begin_rebuild", str(epoch)):
            return f"finds that Redis has lost its memory; rebuilding as {epoch[:8]}"
        case ("end_rebuild", bool(done)):
            return f"has rebuilt the queue: {done}"
    return None if call in _UNNAMED or not answer else f"{call.upper()}: {answer}"


def _step(finishes: tuple[Finish, ...], answer: StepResult, names: Mapping[UUID, int]) -> str | None:
    stale = set(answer.stale)
    said = [
        f"{'cannot end' if f in stale else f'ends ({f.verb.value})'} {_task(f.task_id, names)} under {f.token}"
        for f in finishes
    ]
    said += [f"reaps {_task(one.task_id, names)} from {one.token}" for one in answer.reaped]
    said += [f"buries {_task(one.task_id, names)}" for one in answer.dead]
    said += [f"claims {_task(c.task_id, names)} under {c.token}" for c in answer.claims]
    return f"STEP: {', '.join(said)}" if said else None


def _task(task_id: UUID, names: Mapping[UUID, int]) -> str:
    return f"task {names[task_id]}" if task_id in names else str(task_id)
