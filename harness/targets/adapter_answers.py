"""The answers of an adapter's client, checked: a wrong one must not become evidence about the system under test."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.history import Operation, OperationType
from harness.history.statuses import LEGAL
from harness.targets.adapter_client import PROTOCOL
from harness.targets.base import Submission, TaskSpec

# The evidence source of each kind of operation.
_SOURCES = {"record": "postgres", "transition": "postgres", "queue": "redis"}
_COUNTED = ("ready", "leased", "scheduled", "dead")


class WrongAnswer(Exception):
    """The answer is not what the protocol asks for; the message says what that is."""


def version_of(answer: object) -> str | None:
    """The version in the answer to `hello`, None if it has none; raises `WrongAnswer`."""
    match answer:
        case {"protocol": int(number), **rest} if number == PROTOCOL:
            version = rest.get("version")
            return None if version is None else str(version)
    raise WrongAnswer(f'{{"protocol": {PROTOCOL}, "version": "..."}}')


def submissions(answer: object, tasks: Sequence[TaskSpec]) -> list[Submission]:
    """The outcome of each task in the answer to `submit`; raises `WrongAnswer`."""
    found = [_submission(one) for one in answer] if isinstance(answer, list) else []
    outcomes = [one for one in found if one is not None]
    if len(found) != len(outcomes) or [one.number for one in outcomes] != [task.number for task in tasks]:
        raise WrongAnswer(
            'for each task, in order, {"number": 1, "activity": "..."} '
            'or {"number": 1, "error": "...", "certain": false}'
        )
    return outcomes


def count(answer: object) -> int:
    """The answer to `unfinished`; raises `WrongAnswer`."""
    if type(answer) is not int or answer < 0:
        raise WrongAnswer("a whole number from 0 on")
    return answer


def evidence(answer: object) -> Operation:
    """One operation of the answer to `evidence`, stamped now; raises `WrongAnswer`."""
    match answer:
        case {"f": str(f), "value": dict(value)} if f in _SOURCES:
            _require_queue(value) if f == "queue" else _require_task(value)
        case _:
            raise WrongAnswer('{"f": "record", "transition" or "queue", "value": {...}}')
    return Operation(time=time.monotonic_ns(), process=_SOURCES[f], type=OperationType.INFO, f=f, value=value)


def _submission(found: object) -> Submission | None:
    match found:
        case {"number": int(number), "activity": str(activity)} if activity:
            return Submission(number=number, activity=activity)
        case {"number": int(number), "error": str(error), **rest}:
            return Submission(number=number, error=error, certain=rest.get("certain") is True)
    return None


def _require_task(value: Mapping[str, Any]) -> None:
    match value:
        case {"task": int(number), "activity": str(activity), "status": str(status)}:
            if type(number) is int and activity and status in LEGAL:
                return
    raise WrongAnswer(
        f"a value with `task` (a number), `activity` (a text), `status` (one of {', '.join(LEGAL)})"
    )


def _require_queue(value: Mapping[str, Any]) -> None:
    counted = all(type(value.get(name, 0)) is int and value.get(name, 0) >= 0 for name in _COUNTED)
    held = value.get("held") or []
    listed = isinstance(held, list) and all(isinstance(one, str) for one in held)
    if not counted or not listed or any(name not in value for name in _COUNTED[:3]):
        raise WrongAnswer(
            f"a value with the whole numbers {', '.join(_COUNTED)}, and `held`, a list of ids, if at all"
        )
