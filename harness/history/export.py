"""Rows of a production system's activities and their log as a history; docs/production/observe.md has the SQL."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.history.figures import NANOSECONDS
from harness.history.history import History
from harness.history.operation import Operation, OperationType

_LOG = ("activity_id", "fence", "n", "status")
_RECORD = ("id", "status", "attempt", "fence")
_NUMBERS = frozenset({"fence", "n", "percentage", "attempt"})


def read_export(paths: Iterable[Path]) -> History:
    """Read rows of both tables from CSV files with a header, or from files of JSON lines, in any order.

    A row with `n` is one of the log (`activity_id`, `fence`, `n`, `status`, and `percentage` and `at` if it has them),
    another one an activity (`id`, `status`, `attempt`, `fence`). Activities get numbers in the order in which they
    appear. Raises `ValueError`, one sentence that names file and row, for anything else.
    """
    operations: list[Operation] = []
    numbers: dict[str, int] = {}
    for path in paths:
        for row, values in _rows(path):
            try:
                operations.append(_operation(values, numbers))
            except ValueError as error:
                raise ValueError(f"{path.name}, row {row}: {error}") from None
    return History.of(operations)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        yield from _read(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no file of CSV or of JSON lines in UTF-8 ({error})") from None


def _read(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        if not first.lstrip().startswith("{"):
            yield from enumerate(csv.DictReader(file), start=2)
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json_object(path, number, line)


def _json_object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path.name}, row {number}: is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name}, row {number}: is not a JSON object")
    return found


def _operation(row: Mapping[str, Any], numbers: dict[str, int]) -> Operation:
    """The row as an operation; those of activities follow those of the log."""
    is_log = row.get("n") not in (None, "")
    wanted = _LOG if is_log else _RECORD
    if missing := [name for name in wanted if row.get(name) in (None, "")]:
        kind = "the log" if is_log else "activities"
        raise ValueError(f"it has no {' and no '.join(missing)}; a row of {kind} has {', '.join(wanted)}")
    activity = str(row[wanted[0]])
    value = {"task": numbers.setdefault(activity, len(numbers) + 1), "activity": activity}
    value |= {name: _number(name, row[name]) if name in _NUMBERS else row[name] for name in wanted[1:]}
    if not is_log:
        return Operation(time=_LAST, process="postgres", type=OperationType.INFO, f="record", value=value)
    value["percentage"] = _number("percentage", row.get("percentage"))
    at = _seconds(row.get("at"))
    value["at"] = at
    time = 0 if at is None else round(at * NANOSECONDS)
    return Operation(time=time, process="postgres", type=OperationType.INFO, f="transition", value=value)


_LAST = 2**63 - 1
"""A time after that of every row of a log."""


def _number(name: str, found: Any) -> int | None:
    if found is None or found == "":
        return None
    try:
        return int(str(found))
    except ValueError:
        raise ValueError(f"its {name} is {found!r}; write a whole number") from None


def _seconds(found: Any) -> float | None:
    if found is None or found == "":
        return None
    try:
        seconds = float(str(found))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"its at is {found!r}; write seconds since 1970")
    return seconds
