"""The figures of all rounds: medians, spreads and ratios to ours, and the JSON of a run."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtests.bench.bench import Figure
from loadtests.peers.catalog import OURS, Peer

SCHEMA_VERSION = 1
_RATES = ("drain", "drain-recorded", "enqueue-one", "enqueue-together", "enqueue-batch")
_SECONDS = ("recovery", "exit")
_COUNTS = ("commits", "inserted", "updated", "deleted")


def unit_of(name: str) -> str:
    """The unit of a figure, from its name."""
    kind = name.rpartition(".")[2]
    if name in _RATES:
        return "tasks/s"
    if name in _SECONDS:
        return "s"
    if kind == "wal":
        return "bytes/task"
    if kind in _COUNTS:
        return "per task"
    return "µs/task" if "." in name else "ms"


@dataclass(kw_only=True)
class PeerResult:
    """The rounds of one peer; `missed` are the figures that a round did not reach in time."""

    peer: Peer
    version: str | None
    rounds: list[Mapping[str, float | None]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures that every counted round has."""
        return {
            name: Figure(
                name=f"{self.peer.name}: {name}",
                unit=unit_of(name),
                values=tuple(values),
                higher_is_better=name in _RATES,
            )
            for name, values in self._values().items()
            if None not in values
        }

    @property
    def missed(self) -> list[str]:
        """The figures that some round did not reach in time."""
        return [name for name, values in self._values().items() if None in values]

    def _values(self) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for one in self.rounds for name in one)
        return {name: [one[name] for one in self.rounds if name in one] for name in names}


def ratios(mine: Figure, ours: Figure | None) -> float | None:
    """The median of the ratios of the rounds to ours; None without the same rounds of ours."""
    if ours is None or len(mine.values) != len(ours.values) or 0 in ours.values:
        return None
    return statistics.median(one / other for one, other in zip(mine.values, ours.values, strict=True))


def document(results: Sequence[PeerResult], run: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run, which `harness report compare` reads; `run` has its servers, rounds and deadlocks."""
    ours = next((result.figures for result in results if result.peer.name == OURS), {})
    return {
        "schema_version": SCHEMA_VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **run,
        "peers": {result.peer.name: _described(result) for result in results},
        "results": {
            result.peer.name: [
                _value(name, figure, ratios(figure, ours.get(name)))
                for name, figure in result.figures.items()
            ]
            for result in results
        },
    }


def _described(result: PeerResult) -> dict[str, Any]:
    peer = result.peer
    texts = ("title", "settings", "source", "records", "loses", "loss_source", "tasks")
    return {
        "version": result.version,
        **{text: getattr(peer, text) for text in texts},
        "requirements": list(peer.requirements),
        "load_average": result.loads,
        "missed": result.missed,
        "errors": result.errors,
    }


def _value(name: str, figure: Figure, ratio: float | None) -> dict[str, Any]:
    low, high = figure.spread
    return {
        "name": figure.name,
        "figure": name,
        "unit": figure.unit,
        "median": figure.median,
        "min": low,
        "max": high,
        "values": list(figure.values),
        "ratio": ratio,
        "higher_is_better": figure.higher_is_better,
    }
