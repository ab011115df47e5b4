"""What a load test measured under one name, such as "TASK answer", in any number of processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from harness.errors import HarnessError
from harness.load.histogram import LatencyHistogram


@dataclass(kw_only=True)
class LoadRow:
    """The requests of one name.

    `latencies` has a value for each request, infinite for one that never completed. `count` is the number of requests
    and `errors` the number of those that failed. `planned` is the number that was due in `seconds`, None if the
    row has no plan. `figures` are further numbers by the name of their statistic: lost, dropped, late, deadlocks,
    log_errors, wal_bytes_per_task, tokens, tokens_again, cost, cost_again.
    """

    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    count: int = 0
    errors: int = 0
    planned: float | None = None
    seconds: float | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def record(self, seconds: float, *, failed: bool = False, count: int = 1) -> None:
        """Count a request and its latency; an infinite one never completed and has failed."""
        self.latencies.record(seconds, count)
        self.count += count
        self.errors += count if failed or seconds == math.inf else 0

    def merge(self, other: LoadRow) -> None:
        """Add the requests of another process. The plan is that of the whole run, and stays."""
        self.latencies.merge(other.latencies)
        self.count += other.count
        self.errors += other.errors
        for name, value in other.figures.items():
            self.figures[name] = self.figures.get(name, 0) + value

    def to_value(self) -> dict[str, Any]:
        """As JSON, for messages between processes."""
        counts = {name: getattr(self, name) for name in ("count", "errors", "planned", "seconds")}
        return {**counts, "figures": dict(self.figures), "latencies": self.latencies.to_value()}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """The row that `to_value` gave; raises `HarnessError` if it is none."""
        try:
            return cls(
                latencies=LatencyHistogram.from_value(value["latencies"]),
                count=int(value["count"]),
                errors=int(value["errors"]),
                planned=value["planned"],
                seconds=value["seconds"],
                figures=dict(value["figures"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HarnessError(
                f"A message has no row that can be read ({type(error).__name__}); "
                "run the same version in all load processes."
            ) from None
