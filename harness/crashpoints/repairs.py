"""Commands that are sent only after a strike: they repair what it broke, and are struck in their turn."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from harness.crashpoints.lives import LIVES
from harness.crashpoints.points import CommandKind, CrashKind, CrashStrike, Point


class Repairs:
    """The commands without a point that were sent after strikes. Safe to use from any thread."""

    def __init__(self) -> None:
        self._after: dict[CommandKind, list[CrashStrike]] = {}
        self._lock = threading.Lock()
        self._gone: set[tuple[CrashStrike | None, Point]] = set()

    def note_gone(self, crash: CrashStrike) -> None:
        """Remember that the command of a strike after another one did not come again."""
        with self._lock:
            self._gone.add((crash.first, crash.point))

    def is_gone(self, crash: CrashStrike) -> bool:
        """Whether the command did not come again for another strike at it."""
        with self._lock:
            return (crash.first, crash.point) in self._gone

    def note(self, first: CrashStrike, sent: Iterable[CommandKind]) -> None:
        """Remember what was sent from a strike to the end of its tasks."""
        # A packet that is late waits for a repair, so nothing more can happen meanwhile.
        if first.first is not None or first.kind is CrashKind.KILLED_LATE:
            return
        with self._lock:
            for kind in sent:
                self._after.setdefault(kind, []).append(first)

    def strikes(self, known: Collection[CommandKind], kinds: Sequence[CrashKind]) -> list[CrashStrike]:
        """Each kind of strike at each command that is not `known`, after the strike that it followed most often.

        One kind comes after the other: what does not come again for the first is not waited for by the others.
        """
        found = {
            kind: _most_often(firsts) for kind, firsts in sorted(self._after.items()) if kind not in known
        }
        return [
            CrashStrike(point=_repair(kind, first), kind=blow, first=first)
            for blow in kinds
            if blow is not CrashKind.KILLED_LATE
            for kind, first in found.items()
        ]


def _repair(kind: CommandKind, first: CrashStrike) -> Point:
    role, service, client, name = kind
    return Point(
        life=first.point.life, role=role, service=service, client=client, name=name, occurrence=1, number=0
    )


def _most_often(firsts: Sequence[CrashStrike]) -> CrashStrike:
    """The strike that stands for the most: of the same kind, at the same command; rather in a short life."""
    counts = Counter((one.point.kind, one.kind) for one in firsts)
    return max(firsts, key=lambda one: (not LIVES[one.point.life].is_long, counts[one.point.kind, one.kind]))
