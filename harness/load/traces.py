"""Traces of arrivals: files with one arrival a line, in the formats of the public traces or in the project's own.

The format is found by the first line. Files are read as streams, so a trace may be larger than memory, except those of
Azure Functions, which are not in the order of arrivals. All offsets are seconds since the first arrival; in the own
format of the project, seconds since the start of the trace.
"""

from __future__ import annotations

import csv
import heapq
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from harness.errors import UsageError
from harness.masking import masked

OWN_COLUMNS = ("offset_seconds", "size", "task")
"""The columns of the project's own format; only the first is required."""


class Size(NamedTuple):
    """How large an arrival is: tokens of the request and of the answer, or one number as `input`.

    It is the bytes of the payload, or the milliseconds of an invocation of Azure Functions.
    """

    input: int
    output: int | None = None


class TraceRow(NamedTuple):
    """One arrival of a trace."""

    offset: float
    size: Size | None = None
    task: str | None = None


NumberedRow = tuple[int, TraceRow]
"""An arrival with the number of its line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceFormat:
    """A format: its required columns (in lower case), and how a line becomes arrivals with their times in seconds.

    `order` brings the arrivals of all lines into the order of their times, if the lines are not in it.
    """

    name: str
    columns: tuple[str, ...]
    rows: Callable[[Mapping[str, Any]], Iterable[TraceRow]]
    relative: bool = True
    order: Callable[[Iterable[Iterable[NumberedRow]]], Iterator[NumberedRow]] = chain.from_iterable

    def fits(self, columns: Iterable[str]) -> bool:
        """Whether a file with these columns has this format."""
        return set(self.columns) <= set(columns)


def read_trace(path: Path | str) -> Iterator[TraceRow]:
    """The arrivals of a file in the order of their times; raises `UsageError` that names the first wrong line."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rows(file, path)
    except OSError as error:
        raise UsageError(f"The trace {path} cannot be read ({error.strerror}); give a file.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The trace {path} is no UTF-8 text; give a CSV file or JSON lines.") from None


def write_trace(rows: Iterable[tuple[datetime, str | None, int | None]], file: TextIO) -> int:
    """Write arrivals (time, task, bytes) in the project's own format, from the earliest; returns how many.

    The arrivals have to come in the order of their times, as a query with ORDER BY gives them.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(OWN_COLUMNS)
    first: datetime | None = None
    count = 0
    for at, task, size in rows:
        first = first or at
        offset = f"{(at - first).total_seconds():.6f}"
        writer.writerow((offset, "" if size is None else size, task or ""))
        count += 1
    return count


def _rows(file: TextIO, path: Path) -> Iterator[TraceRow]:
    found, lines = _opened(file, path)
    first: float | None = None
    latest = -math.inf
    for number, row in found.order(_numbered(found, number, values, path) for number, values in lines):
        if not math.isfinite(row.offset):
            raise _wrong_line(path, number, "has a time that is not finite")
        if row.offset < latest:
            raise _wrong_line(path, number, "is earlier than the line before it")
        latest = row.offset
        if first is None:
            first = row.offset if found.relative else 0.0
        if row.offset < first:
            raise _wrong_line(path, number, "has a negative time")
        yield row._replace(offset=row.offset - first)
    if first is None:
        raise UsageError(f"The trace {path} has no arrival; give a file with at least one.")


def _numbered(
    found: TraceFormat, number: int, values: Mapping[str, Any], path: Path
) -> Iterable[NumberedRow]:
    try:
        rows = found.rows(values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _wrong_line(path, number, f"is no arrival of the format {found.name} ({_why(error)})") from None
    return ((number, row) for row in rows)


def _sorted(lines: Iterable[Iterable[NumberedRow]]) -> Iterator[NumberedRow]:
    return iter(sorted(chain.from_iterable(lines), key=_offset))


def _merged(lines: Iterable[Iterable[NumberedRow]]) -> Iterator[NumberedRow]:
    return heapq.merge(*lines, key=_offset)


def _offset(numbered: NumberedRow) -> float:
    return numbered[1].offset


def _opened(file: TextIO, path: Path) -> tuple[TraceFormat, Iterator[tuple[int, Mapping[str, Any]]]]:
    """The format of a file, and its rows with the numbers of their lines."""
    begin = file.read(1)
    file.seek(0)
    if begin == "{":
        return MOONCAKE, _json_lines(file, path)
    reader = csv.reader(file, strict=True)
    columns = [name.strip().lower() for name in next(reader, [])]
    for known in FORMATS:
        if known.fits(columns):
            return known, _csv_lines(reader, columns, path)
    listed = "; ".join(f"{known.name}: {', '.join(known.columns)}" for known in FORMATS)
    raise UsageError(
        f"The first line of the trace {path} names no known columns; give a file with those of one format ({listed})."
    )


def _csv_lines(reader: Any, columns: list[str], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        for cells in reader:
            if cells:
                if len(cells) != len(columns):
                    raise _wrong_line(
                        path, reader.line_num, f"has {len(cells)} cells instead of {len(columns)}"
                    )
                yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise _wrong_line(path, reader.line_num, f"is no CSV ({error})") from None


def _json_lines(file: TextIO, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise _wrong_line(path, number, "is no JSON object")
        yield number, values


def _wrong_line(path: Path, number: int, what: str) -> UsageError:
    return UsageError(masked(f"Line {number} of the trace {path} {what}; correct or remove it."))


def _why(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _one(row: Callable[[Mapping[str, Any]], TraceRow]) -> Callable[[Mapping[str, Any]], Iterable[TraceRow]]:
    """Lines that are one arrival each."""
    return lambda values: (row(values),)


def _azure(values: Mapping[str, Any]) -> TraceRow:
    at = datetime.fromisoformat(values["timestamp"].strip())
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    tokens = Size(_count(values["contexttokens"]), _count(values["generatedtokens"]))
    return TraceRow((at - _EPOCH).total_seconds(), tokens)


def _burstgpt(values: Mapping[str, Any]) -> TraceRow:
    tokens = Size(_count(values["request tokens"]), _count(values["response tokens"]))
    return TraceRow(float(values["timestamp"]), tokens)


def _mooncake(values: Mapping[str, Any]) -> TraceRow:
    at = float(values["timestamp"]) / 1000
    return TraceRow(at, Size(_count(values["input_length"]), _count(values["output_length"])))


def _azure_invocation(values: Mapping[str, Any]) -> TraceRow:
    """An invocation of the trace of 2021, which has its end: it arrived `duration` before."""
    end, duration = float(values["end_timestamp"]), float(values["duration"])
    if not (0 <= duration < math.inf and math.isfinite(end)):
        raise ValueError("its end or its duration is no time")
    return TraceRow(end - duration, Size(round(duration * 1000)), _function(values["app"], values["func"]))


def _azure_minutes(values: Mapping[str, Any]) -> Iterable[TraceRow]:
    """The invocations of a function in the trace of 2019: their number in each minute of a day, here evenly spaced."""
    minutes = [
        (int(name), _count(count)) for name, count in values.items() if name.isdecimal() and count != "0"
    ]
    task = _function(values["hashapp"], values["hashfunction"])
    return (
        TraceRow(60 * (minute - 1 + (number + 0.5) / count), None, task)
        for minute, count in sorted(minutes)
        for number in range(count)
    )


def _function(app: str, name: str) -> str:
    """The name of a function, which is unique only within its application."""
    return sys.intern(f"{app}/{name}")


def _own(values: Mapping[str, Any]) -> TraceRow:
    size = values.get("size") or None
    return TraceRow(
        float(values["offset_seconds"]),
        None if size is None else Size(_count(size)),
        values.get("task") or None,
    )


def _count(value: object) -> int:
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.nan
    except ValueError:
        number = math.nan
    if not (number >= 0 and number == int(number)):
        raise ValueError(f"{value!r} is no whole number of 0 or more")
    return int(number)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AZURE = TraceFormat(
    name="Azure", columns=("timestamp", "contexttokens", "generatedtokens"), rows=_one(_azure)
)
BURSTGPT = TraceFormat(
    name="BurstGPT", columns=("timestamp", "request tokens", "response tokens"), rows=_one(_burstgpt)
)
MOONCAKE = TraceFormat(
    name="Mooncake", columns=("timestamp", "input_length", "output_length"), rows=_one(_mooncake)
)
AZURE_FUNCTIONS_2021 = TraceFormat(
    name="Azure Functions 2021",
    columns=("app", "func", "end_timestamp", "duration"),
    rows=_one(_azure_invocation),
    order=_sorted,
)
AZURE_FUNCTIONS_2019 = TraceFormat(
    name="Azure Functions 2019",
    columns=("hashapp", "hashfunction", "trigger", "1"),
    rows=_azure_minutes,
    order=_merged,
)
OWN = TraceFormat(name="harness", columns=OWN_COLUMNS[:1], rows=_one(_own), relative=False)
FORMATS = (OWN, AZURE, BURSTGPT, MOONCAKE, AZURE_FUNCTIONS_2021, AZURE_FUNCTIONS_2019)
