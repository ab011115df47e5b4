"""Logs of pools and servers: lines of them around the story of a task.

A log is no evidence. Its lines carry a time of day, if any, and a history carries CLOCK_MONOTONIC. The operation
`clock` of the process `runner` joins the two; without it, or for a log without times, only lines that name the task's
activity are shown, and the excerpt says so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from math import inf
from pathlib import Path
from typing import NamedTuple

from harness.history import RUNNER, History
from harness.history.names import CLOCK
from harness.report.stories import Story

AROUND = 0.25
"""Seconds before and after a moment of a story in which lines belong to it."""

MOST_LINES = 12
"""The most lines of one log in an excerpt."""

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, start=1)}
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<part>\d{1,9}))?"
_ZONE = r"\s?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d)?"
_ISO = re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[T ]{_CLOCK}{_ZONE}")
_NAMED_MONTH = re.compile(rf"(?P<day>\d\d) (?P<month>{'|'.join(_MONTHS)}) (?P<year>\d{{4}}) {_CLOCK}{_ZONE}")
_TIME_ONLY = re.compile(rf"^\W{{0,3}}{_CLOCK}{_ZONE}")
_NEXT = 100
"""The lines before and after a moment among which those around it are looked for."""

_MARGIN = timedelta(seconds=60)
_BEGIN = 120
"""Characters at the beginning of a line in which its time is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line with its number; `at` is seconds since the start of the run, None if it is not known.

    `precise` is the resolution of that time in seconds: the line may be as much later.
    """

    number: int
    text: str
    at: float | None
    precise: float

    def distance(self, moment: float) -> float:
        """Seconds between the line and a moment of the run; infinite without a time."""
        at = _at(self)
        return max(at - moment, moment - at - self.precise, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """One log of a run. `by_time` are the lines with a time that the history can be compared with, in its order."""

    name: str
    path: Path
    lines: tuple[LogLine, ...]
    by_time: tuple[LogLine, ...]

    @property
    def timed(self) -> bool:
        """Lines of it can be compared with the history."""
        return bool(self.by_time)

    def around(self, moment: float) -> Iterator[LogLine]:
        """Lines at most `AROUND` seconds before or after a moment of the run; of very many, those next to it."""
        here = bisect_left(self.by_time, moment, key=_at)
        for line in self.by_time[max(here - _NEXT, 0) : here + _NEXT]:
            if line.distance(moment) <= AROUND:
                yield line


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """Lines of one log that belong to a story; `note` says how they were chosen."""

    name: str
    note: str
    text: str


def logs_of(folder: Path | None, history: History, *, seconds: float) -> Sequence[Log]:
    """The `*.log` files beside the history that are not empty; `seconds` is the length of the run."""
    if folder is None or not folder.is_dir():
        return []
    began = began_at(history)
    found = [_log(path, began, seconds) for path in sorted(folder.glob("*.log"))]
    return [log for log in found if log.lines]


def began_at(history: History) -> datetime | None:
    """The time of day of the first operation; None if the history does not have a `clock`."""
    for op in history.where(CLOCK):
        if op.process == RUNNER and isinstance(wall := op.value.get("wall"), str):
            try:
                noted = datetime.fromisoformat(wall)
            except ValueError:
                return None
            return noted.astimezone(UTC) - timedelta(
                microseconds=(op.time - history.operations[0].time) / 1_000
            )
    return None


def excerpts(story: Story, logs: Sequence[Log]) -> list[Excerpt]:
    """For each log with lines that name the story's activity or lie around one of its moments, those lines."""
    found = []
    for log in logs:
        chosen = _chosen(story, log)
        if chosen:
            around = f"lines within {AROUND * 1000:.0f} ms of a moment of the task, and lines that name its activity"
            only = "the lines carry no time that can be compared: only lines that name the activity"
            text = "\n".join(f"{line.number}: {line.text}" for line in chosen)
            found.append(Excerpt(name=log.name, note=around if log.timed else only, text=text))
    return found


def _chosen(story: Story, log: Log) -> list[LogLine]:
    """The lines that name the activity, then the lines around the moments of the task, the closest first."""
    named = [line for line in log.lines if story.activity and story.activity in line.text]
    near: dict[int, tuple[float, LogLine]] = {}
    for moment in story.times:
        for line in log.around(moment):
            distance = min(line.distance(moment), near.get(line.number, (inf, line))[0])
            near[line.number] = (distance, line)
    closest = [line for _, line in sorted(near.values(), key=lambda pair: pair[0])]
    found = {line.number: line for line in (*named, *closest)}
    return sorted(islice(found.values(), MOST_LINES), key=lambda line: line.number)


def _at(line: LogLine) -> float:
    return -inf if line.at is None else line.at


def _log(path: Path, began: datetime | None, seconds: float) -> Log:
    try:
        texts = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:  # a log that was removed since is no reason to write no report
        texts = []
    times = [None] * len(texts) if began is None else _compared(list(_times(texts, began)), began, seconds)
    lines = [
        LogLine(
            number=number,
            text=text,
            at=None if time is None or began is None else (time.at - began).total_seconds(),
            precise=0.0 if time is None else time.precise,
        )
        for number, (text, time) in enumerate(zip(texts, times, strict=True), start=1)
        if text.strip()
    ]
    by_time = tuple(sorted((line for line in lines if line.at is not None), key=_at))
    return Log(name=path.name, path=path, lines=tuple(lines), by_time=by_time)


class _Time(NamedTuple):
    """The time of a line, and the resolution with which it is written, in seconds."""

    at: datetime
    precise: float


def _times(texts: Sequence[str], began: datetime) -> Iterator[_Time | None]:
    """The time of each line; a line without one continues the line before it."""
    last: _Time | None = None
    for text in texts:
        last = _time(text[:_BEGIN], began) or last
        yield last


def _time(text: str, began: datetime) -> _Time | None:
    found = _ISO.search(text) or _NAMED_MONTH.search(text) or _TIME_ONLY.search(text)
    if found is None:
        return None
    parts: Mapping[str, str | None] = found.groupdict()
    zone = _zone(parts["zone"])
    day = began.astimezone(zone)
    try:
        at = datetime(
            int(parts.get("year") or day.year),
            _month(parts.get("month")) or day.month,
            int(parts.get("day") or day.day),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            int(f"{parts['part'] or '0':<06}"[:6]),
            tzinfo=zone,
        ).astimezone(UTC)
    except ValueError:
        return None
    if "year" not in parts and at < began - timedelta(hours=12):  # the run went on past midnight
        at += timedelta(days=1)
    return _Time(at, 10.0 ** -len(parts["part"] or ""))


def _month(text: str | None) -> int | None:
    return None if text is None else _MONTHS.get(text) or int(text)


def _zone(text: str | None) -> timezone | None:
    """The zone of a line; None for the zone of this machine."""
    if text is None:
        return None
    if text in {"Z", "UTC", "GMT"}:
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


def _compared(times: list[_Time | None], began: datetime, seconds: float) -> list[_Time | None]:
    """The times if one lies in the run, or does so in UTC: the clock of a container ignores the zone of the host.

    Otherwise the lines are not comparable, and no line has a time.
    """
    first, last = began - _MARGIN, began + timedelta(seconds=seconds) + _MARGIN
    for moved in (timedelta(), began.astimezone().utcoffset() or timedelta()):
        if any(first <= time.at + moved <= last for time in times if time is not None):
            return [None if time is None else _Time(time.at + moved, time.precise) for time in times]
    return [None] * len(times)
