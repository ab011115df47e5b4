"""What the store says, read once for all checkers: the log of each activity, its record, and who completed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from harness.history import History, Operation
from harness.history.reading import subject_of, task_of, whole


class Entry(NamedTuple):
    """One row of an activity's log; `percentage` is None in a row without one."""

    fence: int
    n: int
    status: str
    percentage: int | None


_NEW: Callable[[type[Entry], tuple[object, ...]], Entry] = tuple.__new__
"""What `Entry(...)` ends in; half a million rows are noticed to go through less."""

_in_order = itemgetter(0, 1, 2)  # by (fence, n), and never by a clock; rows with one number by their status


def logs(history: History) -> Mapping[str, Sequence[Entry]]:
    """By `subject_of`, the rows of the store's own log in their order."""
    return history.derive(_log).rows


def records(history: History) -> Mapping[str, Operation]:
    """By `subject_of`, the store's last word on the activity."""
    return history.derive(_records)


def tasks(history: History) -> Mapping[str, int]:
    """By `subject_of`, the number of the task of everything that the store has a log or a record of."""
    return history.derive(_tasks)


def completions(history: History) -> Mapping[str, frozenset[int]]:
    """By `subject_of`, the fences under which the store calls the activity complete, in its log or in its record."""
    return history.derive(_completions)


class _Log(NamedTuple):
    """All of the store's log by `subject_of`: the rows, the first of them as recorded, and the fences of those that
    say complete.
    """

    rows: dict[str, list[Entry]]
    first: dict[str, Operation]
    complete: dict[str, frozenset[int]]


def _log(history: History) -> _Log:
    found = _Log({}, {}, {})
    rows = found.rows
    for op in history.where("transition"):
        entry, subject = _entry(op), subject_of(op)
        if subject in rows:
            rows[subject].append(entry)
        else:
            rows[subject] = [entry]
            found.first[subject] = op
        if entry.status == "complete":
            found.complete[subject] = found.complete.get(subject, frozenset()) | {entry.fence}
    for entries in rows.values():
        entries.sort(key=_in_order)
    return found


def _entry(op: Operation) -> Entry:
    get = op.value.get
    fence, n, percentage, status = get("fence"), get("n"), get("percentage"), get("status")
    if (
        type(fence) is type(n) is int
        and type(status) is str
        and (percentage is None or type(percentage) is int)
    ):
        return _NEW(Entry, (fence, n, status, percentage))
    if percentage is not None:
        percentage = whole(op, "percentage")
    return Entry(whole(op, "fence"), whole(op, "n"), str(status), percentage)


def _records(history: History) -> Mapping[str, Operation]:
    return {subject_of(op): op for op in history.where("record")}


def _tasks(history: History) -> Mapping[str, int]:
    found = {subject: task_of(op) for subject, op in history.derive(_log).first.items()}
    for op in history.where("record"):
        subject = subject_of(op)
        if subject not in found:
            found[subject] = task_of(op)
    return found


def _completions(history: History) -> Mapping[str, frozenset[int]]:
    found = dict(history.derive(_log).complete)
    for subject, op in records(history).items():
        if op.value.get("status") == "complete" and op.value.get("fence") is not None:
            fence = whole(op, "fence")
            if fence not in found.get(subject, ()):
                found[subject] = found.get(subject, frozenset()) | {fence}
    return found
