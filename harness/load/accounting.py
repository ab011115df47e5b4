"""What became of the planned arrivals of a load, as counts that add up or name the gap.

due           arrivals whose intended time has passed
├── dropped   never sent: no user was free until the end of the load
└── sent      (late: after `late_after` seconds)
    ├── refused        the queue answered with an error: certainly not accepted
    ├── unknown        no answer, or an error that leaves open whether the task was accepted
    └── acknowledged
        ├── terminal   by status
        └── lost       not terminal until the bound of the drain
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Self

from harness.errors import HarnessError
from harness.load.histogram import LatencyHistogram

LATE_AFTER_SECONDS = 0.05

_COUNTS = ("due", "dropped", "sent", "late", "refused", "unknown", "acknowledged", "lost")


class Accounting:
    """The counts of one process, or of several after `merge`.

    `noticed` has the seconds between the intended time of each arrival and the moment at which the generator noticed
    it: this lateness is the generator's own. `lateness` has the seconds until the arrival was sent, with the wait for a
    free user, and a slow system keeps users busy. Arrivals with more than `late_after` seconds of it are late.
    """

    def __init__(self, *, late_after: float = LATE_AFTER_SECONDS) -> None:
        self.late_after = late_after
        self.due = self.dropped = self.sent = self.late = 0
        self.refused = self.unknown = self.acknowledged = self.lost = 0
        self.terminal: Counter[str] = Counter()
        self.noticed = LatencyHistogram()
        self.lateness = LatencyHistogram()

    def notice(self, lateness: float, count: int = 1) -> None:
        """Count a due arrival, `lateness` seconds after its intended time: infinite if the load ended before that."""
        self.due += count
        self.noticed.record(lateness, count)

    def send(self, lateness: float) -> None:
        """Count a noticed arrival that is sent now, `lateness` seconds after its intended time."""
        self.sent += 1
        self.late += lateness > self.late_after
        self.lateness.record(lateness)

    def drop(self, count: int = 1) -> None:
        """Count noticed arrivals that are never sent; their lateness is infinite."""
        self.dropped += count
        self.lateness.record(float("inf"), count)

    def merge(self, other: Accounting) -> None:
        """Add the counts of another process."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.terminal.update(other.terminal)
        self.noticed.merge(other.noticed)
        self.lateness.merge(other.lateness)

    def gaps(self) -> Iterator[str]:
        """A sentence for each sum that is not right: what is missing there is not accounted for."""
        answered = self.refused + self.unknown + self.acknowledged
        ended = sum(self.terminal.values()) + self.lost
        if self.due != self.sent + self.dropped:
            yield _gap(self.due, "arrivals were due", self.sent + self.dropped, "were sent or dropped")
        if self.sent != answered:
            yield _gap(self.sent, "tasks were sent", answered, "have an outcome")
        if self.acknowledged != ended:
            yield _gap(self.acknowledged, "tasks were acknowledged", ended, "are terminal or lost")

    def to_value(self) -> dict[str, Any]:
        """As JSON, for messages between processes and for verdict.json."""
        return {
            "late_after": self.late_after,
            **{name: getattr(self, name) for name in _COUNTS},
            "terminal": dict(sorted(self.terminal.items())),
            "noticed": self.noticed.to_value(),
            "lateness": self.lateness.to_value(),
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """The counts that `to_value` gave; raises `HarnessError` if they are none."""
        try:
            found = cls(late_after=float(value["late_after"]))
            for name in _COUNTS:
                setattr(found, name, int(value[name]))
            found.terminal.update({str(status): int(count) for status, count in value["terminal"].items()})
            found.noticed = LatencyHistogram.from_value(value["noticed"])
            found.lateness = LatencyHistogram.from_value(value["lateness"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HarnessError(
                f"A message has no counts that can be read ({type(error).__name__}); "
                "run the same version in all load processes."
            ) from None
        return found


def _gap(count: int, what: str, found: int, became: str) -> str:
    return f"{count} {what}, but {found} {became}: {abs(count - found)} are not accounted for."
