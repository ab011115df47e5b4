"""What the store says, read once for all checkers: the log of each activity, its record, and who completed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from harness.checkers._reading import subject_of, task_of, whole
from harness.history import History, Operation


class Entry(NamedTuple):
    """One row of an activity's log; `percentage` is None in a row without one."""

    fence: int
    n: int
    status: str
    percentage: int | None


_in_order = itemgetter(0, 1, 2)  # by (fence, n), and never by a clock; rows with one number by their status


def logs(history: History) -> Mapping[str, Sequence[Entry]]:
    """By `subject_of`, the rows of the store's own log in their order."""
    return history.derive(_logs)


def records(history: History) -> Mapping[str, Operation]:
    """By `subject_of`, the store's last word on the activity."""
    return history.derive(_records)


def tasks(history: History) -> Mapping[str, int]:
    """By `subject_of`, the number of the task of everything that the store has a log or a record of."""
    return history.derive(_tasks)


def completions(history: History) -> Mapping[str, frozenset[int]]:
    """By `subject_of`, the fences under which the store calls the activity complete, in its log or in its record."""
    return history.derive(_completions)


def _logs(history: History) -> Mapping[str, Sequence[Entry]]:
    found: dict[str, list[Entry]] = {}
    for op in history.where("transition"):
        percentage = op.value.get("percentage")
        if percentage is not None:
            percentage = whole(op, "percentage")
        entry = Entry(whole(op, "fence"), whole(op, "n"), str(op.value.get("status")), percentage)
        subject = subject_of(op)
        if subject in found:
            found[subject].append(entry)
        else:
            found[subject] = [entry]
    for entries in found.values():
        entries.sort(key=_in_order)
    return found


def _records(history: History) -> Mapping[str, Operation]:
    return {subject_of(op): op for op in history.where("record")}


def _tasks(history: History) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for f in ("transition", "record"):
        for op in history.where(f):
            subject = subject_of(op)
            if subject not in found:
                found[subject] = task_of(op)
    return found


def _completions(history: History) -> Mapping[str, frozenset[int]]:
    found: dict[str, frozenset[int]] = {}
    for subject, entries in logs(history).items():
        fences = [entry.fence for entry in entries if entry.status == "complete"]
        if fences:
            found[subject] = frozenset(fences)
    for subject, op in records(history).items():
        if op.value.get("status") == "complete" and op.value.get("fence") is not None:
            fence = whole(op, "fence")
            if fence not in found.get(subject, ()):
                found[subject] = found.get(subject, frozenset()) | {fence}
    return found
