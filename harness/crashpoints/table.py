"""The results of crashpoints as a table, as lines, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.checkers.base import Verdict
from harness.crashpoints.lives import LIVES
from harness.crashpoints.points import CommandKind, CrashKind, CrashRow, CrashStrike, Point
from harness.history.figures import counted
from harness.masking import one_line

SCHEMA_VERSION = 1

_HEADER = ("life", "link", "n", "command", *(str(kind) for kind in CrashKind))
_LONGEST_NAME = 44


def overall(rows: Sequence[CrashRow]) -> Verdict:
    """The verdict over all strikes."""
    return Verdict.combine(row.verdict for row in rows)


def table(rows: Sequence[CrashRow]) -> str:
    """One line for each point with the outcome of each strike, and the counts."""
    by_point: dict[tuple[CrashStrike | None, Point], dict[CrashKind, CrashRow]] = {}
    for row in rows:
        by_point.setdefault((row.strike.first, row.strike.point), {})[row.strike.kind] = row
    lines = [_HEADER, *(_line(*place, found) for place, found in by_point.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def _line(first: CrashStrike | None, point: Point, rows: Mapping[CrashKind, CrashRow]) -> tuple[str, ...]:
    name = one_line(f"{point.name} #{point.occurrence}")
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 8]}...{name[-5:]}"
    left_out = LIVES[point.life].left_out
    cells = (rows[kind].outcome if kind in rows else left_out.get(kind, "") for kind in CrashKind)
    life = point.life if first is None else f"{point.life}, {first.kind}"
    return (life, point.link, str(point.number or "-"), shown, *cells)


def summary(rows: Sequence[CrashRow]) -> str:
    """How many points and strikes there were, and what became of them."""
    points = len({(row.strike.first, row.strike.point) for row in rows})
    struck = sum(row.struck for row in rows)
    asked = sum(row.struck or row.verdict is not Verdict.NOT_ASKED for row in rows)
    figures = {
        name: sum(row.figures.get(name, 0) for row in rows) for name in ("lost", "stuck", "illegal", "stale")
    }
    counts = Counter(row.verdict for row in rows)
    share = f"{struck / asked:.1%}" if asked else "none"
    return (
        f"{counted(points, 'point')}, {struck} of {counted(asked, 'strike')} made ({share}): "
        f"{', '.join(f'{number} {verdict}' for verdict, number in counts.items())}; "
        f"{', '.join(f'{number} {name}' for name, number in figures.items())}; "
        f"{sum((row.runs or 0) > 1 for row in rows)} ran more than once"
    )


def missed(seen: Mapping[CommandKind, int], rows: Sequence[CrashRow]) -> dict[CommandKind, int]:
    """How often each kind of command was sent that no strike fell on."""
    struck = {row.strike.point.kind for row in rows if row.struck}
    return {kind: number for kind, number in sorted(seen.items()) if kind not in struck}


def kinds_text(seen: Mapping[CommandKind, int], rows: Sequence[CrashRow]) -> list[str]:
    """How many kinds of commands were struck, and a line for each of the others."""
    others = missed(seen, rows)
    lines = [f"{len(seen) - len(others)} of {counted(len(seen), 'kind')} of commands struck"]
    if others:
        lines[0] += "; not struck, because neither a life nor what repairs a strike sends them each time:"
    named = (
        (f"{kind.role}-{kind.service}, {kind.client or 'no name'}, {kind.name}", number)
        for kind, number in others.items()
    )
    return [*lines, *(one_line(f"        {name}: sent {counted(number, 'time')}") for name, number in named)]


def reasons(rows: Sequence[CrashRow], repeat: Callable[[CrashStrike], str]) -> list[str]:
    """A line for each strike that is not clean, with the command that repeats it."""
    return [
        one_line(f"{row.verdict} {row.strike.id}: {row.outcome}{f'; {row.why}' if row.why else ''}")
        + f"\n        {repeat(row.strike)}"
        for row in rows
        if row.verdict in (Verdict.INVALID, Verdict.UNKNOWN)
    ]


def row_text(row: CrashRow) -> str:
    """One row as a line of progress."""
    point = row.strike.point
    before = f"{row.strike.first.kind}, then " if row.strike.first else ""
    return one_line(
        f"{point.life}, {before}{point.link}, {point.name} #{point.occurrence}, {row.strike.kind}: "
        f"{row.verdict}, {row.outcome}"
    )


def document(
    rows: Sequence[CrashRow],
    *,
    target: str,
    version: str,
    seconds: float,
    repeat: Callable[[CrashStrike], str],
    seen: Mapping[CommandKind, int],
) -> dict[str, Any]:
    """The content of crashpoints.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "version": version,
        "verdict": overall(rows),
        "summary": summary(rows),
        "points": len({(row.strike.first, row.strike.point) for row in rows}),
        "strikes": len(rows),
        "struck": sum(row.struck for row in rows),
        "seconds": round(seconds, 1),
        "kinds": len(seen),
        "not_struck": [
            {
                "link": f"{kind.role}-{kind.service}",
                "client": kind.client,
                "command": kind.name,
                "times": number,
            }
            for kind, number in missed(seen, rows).items()
        ],
        "rows": [row.to_value(repeat(row.strike)) for row in rows],
    }
