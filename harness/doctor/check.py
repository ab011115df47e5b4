"""What a check is: one question to an installation, with a stable id, and what it found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from harness.doctor.area import Area

if TYPE_CHECKING:
    from harness.doctor.installation import Installation

_ID = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")


class Grade(StrEnum):
    """The result of a check, best first. Only FAIL changes the exit code."""

    PASS = "PASS"  # noqa: S105 - not a password
    SKIP = "SKIP"
    WARN = "WARN"
    FAIL = "FAIL"


class Box(StrEnum):
    """The fifteen boxes of the production guide's checklist."""

    MIGRATIONS = "migrations"
    POSTGRES_TLS = "postgres-tls"
    REDIS_PROTECTION = "redis-password-and-persistence"
    POOLING = "connection-pooling"
    GRACE = "graceful-shutdown"
    HEALTH = "health-endpoints"
    LOGGING = "structured-logging"
    METRICS = "metrics"
    ALERTS = "alerts"
    SECRETS = "secrets"
    BACKUPS = "backups"
    CLEANUP = "cleanup"
    RATE_LIMIT = "rate-limit"
    NETWORK = "network-policies"
    LOAD_TEST = "load-test"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckFinding:
    """What a check saw. `remedy` and `commands` replace those of the check if they are not empty."""

    grade: Grade
    seen: str
    remedy: str = ""
    commands: tuple[str, ...] = ()


Probe = Callable[["Installation"], CheckFinding]


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorCheck:
    """One check: `asks` and `why` are for the reference page, `commands` are shell commands that repair it.

    `scenario` names the scenario that shows the loss or the stall. Raises ValueError for an id of another form.
    """

    id: str
    area: Area
    asks: str
    why: str
    remedy: str
    probe: Probe
    box: Box | None = None
    commands: tuple[str, ...] = ()
    scenario: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no id of a check; write area.two-words")


def passed(seen: str) -> CheckFinding:
    """PASS."""
    return CheckFinding(grade=Grade.PASS, seen=seen)


def warned(seen: str, remedy: str = "", *commands: str) -> CheckFinding:
    """WARN."""
    return CheckFinding(grade=Grade.WARN, seen=seen, remedy=remedy, commands=commands)


def failed(seen: str, remedy: str = "", *commands: str) -> CheckFinding:
    """FAIL."""
    return CheckFinding(grade=Grade.FAIL, seen=seen, remedy=remedy, commands=commands)


def skipped(reason: str) -> CheckFinding:
    """SKIP: this run cannot answer the question."""
    return CheckFinding(grade=Grade.SKIP, seen=reason)


def check(
    name: str,
    area: Area,
    *,
    asks: str,
    why: str,
    remedy: str,
    box: Box | None = None,
    commands: tuple[str, ...] = (),
    scenario: str = "",
) -> Callable[[Probe], DoctorCheck]:
    """Make a check of the function that answers it."""

    def make(probe: Probe) -> DoctorCheck:
        return DoctorCheck(
            id=name,
            area=area,
            asks=asks,
            why=why,
            remedy=remedy,
            probe=probe,
            box=box,
            commands=commands,
            scenario=scenario,
        )

    return make


def within(value: float, *, warn: float, fail: float, seen: str) -> CheckFinding:
    """PASS up to `warn`, WARN up to `fail`, FAIL above."""
    return failed(seen) if value > fail else warned(seen) if value > warn else passed(seen)


def psql(statement: str) -> str:
    """The command that runs a statement, by a role that may."""
    plain = not set(statement) & set('"$`\\!')
    quoted = f'"{statement}"' if "'" in statement and plain else shlex.quote(statement)
    return f'psql "$DATABASE_URL" -c {quoted}'


def redis_cli(command: str) -> str:
    """The command that sends a command to Redis, as a user who may."""
    return f'redis-cli -u "$REDIS_URL" {command}'


def alter_system(name: str, value: str) -> tuple[str, ...]:
    """The commands that change a setting of the Postgres server."""
    return psql(f"ALTER SYSTEM SET {name} = {value}"), RELOAD


RELOAD = psql("SELECT pg_reload_conf()")
