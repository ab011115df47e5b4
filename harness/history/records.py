"""The store's own evidence: the log of each activity, its final record, and the fences that completed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from harness.history.fields import optional_whole, subject_of, task_of, whole
from harness.history.history import History
from harness.history.operation import Operation
from harness.history.statuses import COMPLETE


class Entry(NamedTuple):
    """One row of an activity's log; `percentage` is None in a row without one."""

    fence: int
    n: int
    status: str
    percentage: int | None


_NEW: Callable[[type[Entry], tuple[object, ...]], Entry] = tuple.__new__
"""The constructor of `Entry` without argument handling, which would be noticeable for half a million rows."""

# By (fence, n), never by a clock; rows with the same number by their status.
_in_order = itemgetter(0, 1, 2)


def logs(history: History) -> Mapping[str, Sequence[Entry]]:
    """By `subject_of`, the rows of the store's log in the order of (fence, n)."""
    return history.derive(_log).rows


def records(history: History) -> Mapping[str, Operation]:
    """By `subject_of`, the store's final record of the activity."""
    return history.derive(_records)


def tasks(history: History) -> Mapping[str, int]:
    """By `subject_of`, the task number of every activity with a log or a record in the store."""
    return history.derive(_tasks)


def completions(history: History) -> Mapping[str, frozenset[int]]:
    """By `subject_of`, the fences under which the log or the record has the status complete."""
    return history.derive(_completions)


class _Log(NamedTuple):
    """The store's log by `subject_of`: its rows, the first operation, and the fences of the complete rows."""

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
        if entry.status == COMPLETE:
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
    return Entry(whole(op, "fence"), whole(op, "n"), str(status), optional_whole(op, "percentage"))


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
        if op.value.get("status") == COMPLETE and op.value.get("fence") is not None:
            fence = whole(op, "fence")
            if fence not in found.get(subject, ()):
                found[subject] = found.get(subject, frozenset()) | {fence}
    return found
