"""An earlier load with which a load is compared: its verdict.json, and the rows that its histograms have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.load.files import read_load
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.thresholds import TIMES, Threshold, ThresholdOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The document of an earlier load, and its rows by name."""

    document: Mapping[str, Any]
    rows: Mapping[str, LoadRow]

    @property
    def run(self) -> str:
        """The id of the earlier load."""
        return str(self.document["facts"].get("run", "unknown"))


def baseline_for(path: Path | None, thresholds: Iterable[Threshold]) -> Baseline | None:
    """The baseline in a file or a report folder, None without one.

    Raises `UsageError` if it is no load that can be compared, or if a threshold needs a baseline and there is none.
    """
    if path is None:
        for one in thresholds:
            if one.unit == TIMES:
                raise UsageError(
                    f"The threshold {one.text!r} of {one.row!r} needs an earlier load; give --load-baseline DIR."
                )
        return None
    document = read_load(path)
    try:
        baseline = Baseline(document=document, rows=dict(_rows(document)))
        measurable = ThresholdOutcome(document["outcome"]) is not ThresholdOutcome.NOT_MEASURABLE
        assert isinstance(document["facts"], Mapping)
    except (AssertionError, AttributeError, HarnessError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"{path} has no rows that can be read; name the verdict.json of another load, or run that load again."
        ) from None
    if not measurable:
        raise UsageError(f"The load {path} was not measurable itself; name one that was met or breached.")
    return baseline


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, LoadRow]]:
    for name, row in document["rows"].items():
        latency, rate = row["latency"], row["per_second"]
        yield (
            name,
            LoadRow(
                latencies=LatencyHistogram()
                if latency is None
                else LatencyHistogram.from_value(latency["histogram"]),
                count=row["count"],
                errors=row["errors"],
                planned=row["planned"],
                seconds=row["count"] / rate if rate else None,
                figures=dict(row["figures"]),
            ),
        )
