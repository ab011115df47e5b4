"""An earlier load with which a load is compared: its verdict.json, and the rows that its histograms have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.errors import HarnessError, UsageError
from harness.load.files import baseline_name, read_load
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.thresholds import TIMES, Threshold, ThresholdOutcome
from harness.report.load_link import load_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The document of an earlier load, and its rows by name."""

    document: Mapping[str, Any]
    rows: Mapping[str, LoadRow]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The baseline of a document, or of what `to_value` gave; raises what its content makes it raise."""
        assert isinstance(document["facts"], Mapping)
        return cls(document=document, rows=dict(_rows(document)))

    @property
    def run(self) -> str:
        """What the earlier load is called: its id, or the time of a load of a chaos run."""
        return baseline_name(self.document)

    def to_value(self) -> dict[str, Any]:
        """What a history needs of it, as JSON."""
        names = ("written_at", "facts", "rows", "thresholds")
        return {name: self.document[name] for name in names if name in self.document}


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
        baseline = Baseline.of(document)
        measurable = ThresholdOutcome(document["outcome"]) is not ThresholdOutcome.NOT_MEASURABLE
    except (AssertionError, AttributeError, HarnessError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"{path} has no rows that can be read; name the verdict.json of another load, or run that load again."
        ) from None
    if not measurable:
        raise UsageError(f"The load {path} was not measurable itself; name one that was met or breached.")
    return baseline


def baseline_of_scenario(
    path: Path | None, scenario: str, thresholds: Iterable[Threshold]
) -> Baseline | None:
    """The baseline of a scenario: that of its own load if the folder is the report of a chaos run."""
    own = None if path is None else load_folder(path, scenario)
    return baseline_for(own if own is not None and own.is_dir() else path, thresholds)


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
