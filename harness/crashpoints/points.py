"""Points, strikes and rows: which command of which life is struck, how, and what became of the tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.wire import Blow, Moment

PRODUCER, WORKER = "producer", "worker"
ROLES = (PRODUCER, WORKER)
"""The two sides of a queue; each has one wire to each server."""

LOSSES = frozenset(
    {
        Loss.WORKER_KILLED,
        Loss.POOL_KILLED,
        Loss.PRODUCER_KILLED,
        Loss.REPLY_LOST,
        Loss.BROKER_DISCONNECTS,
        Loss.BACKENDS_TERMINATED,
    }
)
"""What strikes take: how long a target needs after other losses does not matter here."""

_SEPARATOR = "|"
_THEN = " > "

_ARBITRARY = re.compile(r"[0-9a-fA-F]{8,}|\d+")


def stable_name(client: str) -> str:
    """The name of a client without what differs between processes; empty if it has none."""
    return _ARBITRARY.sub("*", client)


class CrashKind(StrEnum):
    """The strikes at a command.

    KILLED_LATE: the process is killed, and the command arrives at the server after others have taken its task over, as
    packets do that are under way.
    """

    KILLED_BEFORE = "killed-before"
    KILLED_LATE = "killed-late"
    KILLED_AFTER = "killed-after"
    REPLY_LOST = "reply-lost"
    REPLY_LATE = "reply-late"
    RESET = "reset"

    @property
    def kills(self) -> bool:
        """Whether the process of the command is killed."""
        return self in (CrashKind.KILLED_BEFORE, CrashKind.KILLED_LATE, CrashKind.KILLED_AFTER)

    @property
    def moment(self) -> Moment:
        """Whether the server has the command."""
        before = (CrashKind.KILLED_BEFORE, CrashKind.KILLED_LATE, CrashKind.RESET)
        return Moment.BEFORE if self in before else Moment.AFTER

    @property
    def blow(self) -> Blow:
        """What happens to the connection; that of a killed process ends with it."""
        blows = {
            CrashKind.KILLED_LATE: Blow.OUTLIVE,
            CrashKind.REPLY_LOST: Blow.CLOSE,
            CrashKind.REPLY_LATE: Blow.DELAY,
            CrashKind.RESET: Blow.RESET,
        }
        return blows.get(self, Blow.HOLD)

    def injection(self, role: str, *, of_pool: bool) -> tuple[InjectionKind, Loss | None]:
        """What the history says about it. A producer that is killed takes nothing from the system."""
        if not self.kills:
            return InjectionKind.DISCONNECT, Loss.REPLY_LOST
        if role == PRODUCER:
            return InjectionKind.OTHER, None
        return InjectionKind.KILL, Loss.POOL_KILLED if of_pool else Loss.WORKER_KILLED


class CommandKind(NamedTuple):
    """What commands of one kind have in common; the first three parts are their client."""

    role: str
    service: str
    client: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One command of a life: the `occurrence`-th of its name that this client sends on its link after the life began.

    `number` is its place among the commands of the link in the run that listed them, 0 if it was not listed.
    """

    life: str
    role: str
    service: str
    client: str
    name: str
    occurrence: int
    number: int = field(default=0, compare=False)

    @property
    def link(self) -> str:
        """The side and the server."""
        return f"{self.role}-{self.service}"

    @property
    def kind(self) -> CommandKind:
        """The kind of its command."""
        return CommandKind(self.role, self.service, self.client, self.name)

    @property
    def id(self) -> str:
        """The point as a word of `--only`."""
        return _SEPARATOR.join((self.life, self.link, self.client, self.name, str(self.occurrence)))


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashStrike:
    """One strike at one point; with `first`, at a command that is sent only after that other strike."""

    point: Point
    kind: CrashKind
    first: CrashStrike | None = None

    @property
    def id(self) -> str:
        """The strike as a word of `--only`."""
        before = f"{self.first.id}{_THEN}" if self.first else ""
        return f"{before}{self.point.id}{_SEPARATOR}{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `id`; raises `UsageError`."""
        before, then, own = text.rpartition(_THEN)
        first = cls.parse(before) if then else None
        parts = own.split(_SEPARATOR)
        try:
            life, link, client, name, occurrence, kind = parts
            role, _, service = link.partition("-")
            if role not in ROLES:
                raise ValueError
            point = Point(
                life=life, role=role, service=service, client=client, name=name, occurrence=int(occurrence)
            )
            return cls(point=point, kind=CrashKind(kind), first=first)
        except ValueError:
            raise UsageError(
                f"{own!r} is no strike. Copy it from the table: life|link|client|command|occurrence|strike."
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashRow:
    """What became of the tasks of one strike.

    `outcome` is a word or two for the table. A strike that could not be made is UNKNOWN. `why` has the reasons of any
    verdict that is not VALID. `runs` is how often the handlers of the most often executed task returned.
    """

    strike: CrashStrike
    verdict: Verdict
    outcome: str
    why: str = ""
    struck: bool = True
    runs: int | None = None
    figures: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def to_value(self, repeat: str) -> dict[str, Any]:
        """The row as JSON."""
        point = self.strike.point
        return {
            "life": point.life,
            "link": point.link,
            "client": point.client,
            "n": point.number,
            "command": point.name,
            "occurrence": point.occurrence,
            "strike": self.strike.kind,
            "first": self.strike.first and self.strike.first.id,
            "struck": self.struck,
            "verdict": self.verdict,
            "outcome": self.outcome,
            "why": self.why,
            "runs": self.runs,
            "figures": dict(self.figures),
            "seconds": round(self.seconds, 3),
            "repeat": repeat,
        }
