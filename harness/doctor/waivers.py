"""Waivers: findings that a team accepts for a time, in a TOML file with the reason and the last day.

[[waiver]]
id = "redis.tls"
reason = "Redis is in the same host until the move"
until = 2026-12-31
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from harness.errors import UsageError
from harness.masking import one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiver:
    """`until` is the last day on which it holds."""

    id: str
    reason: str
    until: date


def read_waivers(path: Path, known: Collection[str]) -> tuple[Waiver, ...]:
    """Read a file; raises `UsageError` for one that cannot be read, an unknown id, or a missing reason or day."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The waivers {path} cannot be read: {one_line(error)}. Correct the file.") from None
    entries = document.get("waiver", [])
    if document.keys() - {"waiver"} or not isinstance(entries, list):
        raise UsageError(f"The waivers {path} have something else than [[waiver]] tables. Correct the file.")
    return tuple(_waiver(path, entry, known) for entry in entries)


def _waiver(path: Path, entry: object, known: Collection[str]) -> Waiver:
    match entry:
        case {"id": str(name), "reason": str(reason), "until": date() as until, **rest} if not rest:
            if name not in known:
                raise UsageError(
                    f"{path} waives {name!r}, which is no check. docs/reference/doctor.md lists them."
                )
            if reason.strip() and not isinstance(until, datetime):
                return Waiver(id=name, reason=reason, until=until)
    raise UsageError(f"A waiver of {path} is incomplete. Give each an id, a reason, and until = YYYY-MM-DD.")
