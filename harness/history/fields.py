"""Fields of one operation, as every reading of a history takes them.

An operation that lacks what its `f` requires raises `ValueError`. The checker that meets it is UNKNOWN and says so: a
checker that skips evidence which it cannot read would call a broken recording VALID.
"""

from __future__ import annotations

from harness.history.operation import Operation


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


def activity_of(operation: Operation) -> str | None:
    """The id of the task in the system under test, None if the writer did not know it."""
    found = operation.value.get("activity")
    return found if found is None or type(found) is str else str(found)


def subject_of(operation: Operation) -> str:
    """What fences and logs belong to: the activity, or the task if no activity is known."""
    found = operation.value.get("activity")
    if type(found) is str and found:  # the usual case, asked a million times
        return found
    return activity_of(operation) or f"task {task_of(operation)}"
