"""Fields of one operation, for the readings of a history.

An operation that lacks a field which its `f` requires raises `ValueError`. The checker that reads it is then UNKNOWN: a
checker that skips unreadable evidence would find a broken recording VALID.
"""

from __future__ import annotations

from harness.history.figures import NANOSECONDS
from harness.history.operation import LAST_TIME, Operation


def task_of(operation: Operation) -> int:
    """The number of the task; raises `ValueError` if the operation has none."""
    found = operation.value.get("task")
    return found if type(found) is int else whole(operation, "task")


def whole(operation: Operation, name: str) -> int:
    """A whole number that the operation must have; raises `ValueError` if it does not."""
    found = operation.value.get(name)
    if type(found) is not int:
        raise ValueError(
            f"a {operation.f} operation of {operation.process} has {found!r} where the number {name!r} belongs; "
            "record it as a whole number"
        )
    return found


def optional_whole(operation: Operation, name: str) -> int | None:
    """A whole number that the operation may lack; raises `ValueError` for a value of any other type."""
    return None if operation.value.get(name) is None else whole(operation, name)


def optional_number(operation: Operation, name: str) -> int | None:
    """A whole number that the operation may lack, or give as a list of names; None for both."""
    found = operation.value.get(name)
    return None if isinstance(found, list | tuple) else optional_whole(operation, name)


def optional_seconds(operation: Operation, name: str) -> float | None:
    """A time in seconds that the operation may lack; raises `ValueError` for what is none."""
    found = operation.value.get(name)
    if found is None or (type(found) in (int, float) and abs(found) <= LAST_TIME / NANOSECONDS):
        return found
    raise ValueError(
        f"a {operation.f} operation of {operation.process} has {found!r} where {name!r} belongs; "
        "record it as a number of seconds"
    )


def activity_of(operation: Operation) -> str | None:
    """The id of the task in the system under test, None if the operation has none."""
    found = operation.value.get("activity")
    return found if found is None or type(found) is str else str(found)


def subject_of(operation: Operation) -> str:
    """The owner of fences and logs: the activity, or the task if the operation names no activity."""
    found = operation.value.get("activity")
    if type(found) is str and found:  # the usual case, for a million operations
        return found
    return activity_of(operation) or f"task {task_of(operation)}"
