"""Rows of a production system's activities and their log as a history; docs/production/observe.md has the SQL."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from harness.history.figures import NANOSECONDS, counted
from harness.history.history import History
from harness.history.operation import LAST_TIME, Operation, OperationType
from harness.history.statuses import LEGAL

_LOG = ("activity_id", "fence", "n", "status")
_RECORD = ("id", "status", "attempt", "fence")
_NUMBERS = frozenset({"fence", "n", "percentage", "attempt"})
_BIGINT = re.compile(r"-?[0-9]{1,19}")
_LATEST = LAST_TIME / NANOSECONDS
# The most of a wrong value that a sentence shows.
_SHOWN = 80

Row = Mapping[str, Any]


def read_export(paths: Iterable[Path]) -> History:
    """Read rows of both tables from CSV files with a header, or from files of JSON lines, in any order.

    A row with `n` is one of the log (`activity_id`, `fence`, `n`, `status`, and `percentage` and `at` if it has them),
    another one an activity (`id`, `status`, `attempt`, `fence`). Activities get numbers in the order in which they
    appear. Raises `ValueError`, one sentence that names file and row, for anything else. That is also a row that comes
    twice, and a log without the row of its activity: no snapshot of both tables holds one.
    """
    operations: dict[tuple[Any, ...], Operation] = {}
    numbers: dict[str, int] = {}
    for path in paths:
        for number, row in _rows(path):
            try:
                key, operation = _operation(row(), numbers)
                if operations.setdefault(key, operation) is not operation:
                    raise ValueError("an earlier row is the same; give each file once")
            except ValueError as error:
                raise ValueError(f"{path.name}, row {number}: {error}") from None
    if alone := [activity for activity, task in numbers.items() if (task,) not in operations]:
        raise ValueError(
            f"the log has {counted(len(alone), 'activity')} without a row of activities, such as "
            f"{_shown(alone[0])}; export both tables in one snapshot"
        )
    return History.of(operations.values())


def _rows(path: Path) -> Iterator[tuple[int, Callable[[], Row]]]:
    """The rows with their numbers, each to be read by a call, which raises `ValueError` for one that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = enumerate(file, start=1)
            first = next((one for one in lines if one[1].strip()), (1, ""))
            every = chain([first], lines)
            if first[1].lstrip().startswith("{"):
                yield from ((number, partial(_json_object, line)) for number, line in every if line.strip())
            else:
                yield from _csv(path, (line for _, line in every))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path.name} is no file of CSV or of JSON lines in UTF-8 ({error}); unpack a compressed file, and export "
            "a cut one again"
        ) from None


def _csv(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Callable[[], Row]]]:
    rows = (row for row in csv.reader(lines, strict=True) if row)
    header = next(rows, None)
    if header is None:
        return
    if len({*header}) < len(header) or not any({*columns} <= {*header} for columns in (_LOG, _RECORD)):
        raise ValueError(
            f"{path.name} begins with {_shown(','.join(header))}; begin with the names of the columns, separated by "
            f"commas: {', '.join(_LOG)} of the log, and {', '.join(_RECORD)} of activities"
        )
    yield from ((number, partial(_named, header, row)) for number, row in enumerate(rows, start=2))


def _named(header: Sequence[str], row: Sequence[str]) -> Row:
    if len(row) != len(header):
        raise ValueError(
            f"it has {counted(len(row), 'value')} for {len(header)} columns; export the file again"
        )
    return dict(zip(header, row, strict=True))


def _json_object(line: str) -> Row:
    try:
        found = json.loads(line, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("is nested too deep to be read") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")
    return found


def _distinct(pairs: Sequence[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has two values of one name; correct the statement of the export")
    return found


def _operation(row: Row, numbers: dict[str, int]) -> tuple[tuple[Any, ...], Operation]:
    """The primary key of the row, and the row as an operation; those of activities follow those of the log."""
    is_log = row.get("n") not in (None, "")
    wanted = _LOG if is_log else _RECORD
    if missing := [name for name in wanted if row.get(name) in (None, "")]:
        kind = "the log" if is_log else "activities"
        raise ValueError(f"it has no {' and no '.join(missing)}; a row of {kind} has {', '.join(wanted)}")
    activity, status = row[wanted[0]], row["status"]
    if type(activity) not in (str, int):
        raise ValueError(f"its {wanted[0]} is {_shown(activity)}; write a text")
    if type(status) is not str or status not in LEGAL:
        raise ValueError(f"its status is {_shown(status)}; write one of {', '.join(LEGAL)}")
    activity = str(activity)
    value = {"task": numbers.setdefault(activity, len(numbers) + 1), "activity": activity}
    value |= {name: _number(name, row[name]) if name in _NUMBERS else row[name] for name in wanted[1:]}
    if not is_log:
        key: tuple[Any, ...] = (value["task"],)
        return key, Operation(
            time=LAST_TIME, process="postgres", type=OperationType.INFO, f="record", value=value
        )
    value["percentage"] = _number("percentage", row.get("percentage"))
    at = _seconds(row.get("at"))
    value["at"] = at
    time = 0 if at is None else round(at * NANOSECONDS)
    key = (value["task"], value["fence"], value["n"])
    return key, Operation(time=time, process="postgres", type=OperationType.INFO, f="transition", value=value)


def _number(name: str, found: Any) -> int | None:
    if found is None or found == "":
        return None
    if not _BIGINT.fullmatch(str(found).strip()):
        raise ValueError(f"its {name} is {_shown(found)}; write a whole number")
    return int(found)


def _seconds(found: Any) -> float | None:
    if found is None or found == "":
        return None
    try:
        seconds = float(str(found))
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < _LATEST:  # not a number either
        raise ValueError(f"its at is {_shown(found)}; write seconds since 1970")
    return seconds


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
