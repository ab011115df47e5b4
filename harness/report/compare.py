"""Comparison of two files of benchmark figures: what became better or worse by more than its own spread.

A file is `{"results": {NAME: [{"name", "unit", "median", "values", "higher_is_better"}, ...]}}`;
other keys are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.command_line import read_json
from harness.errors import UsageError

REMEDY = "give the bench.json of a benchmark run, or the verdict.json of a chaos run."


class Change(StrEnum):
    """How a figure changed. SAME: the measured ranges overlap, so the difference may be the machine's noise."""

    BETTER = "better"
    WORSE = "WORSE"
    SAME = "same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure in both files; `ratio` is the second median over the first."""

    name: str
    unit: str
    before: float
    after: float
    change: Change

    @property
    def ratio(self) -> float:
        """After over before."""
        return self.after / self.before if self.before else float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The figures that are in both files, and the names of those that are in only one."""

    rows: tuple[Row, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare(before: Path, after: Path) -> Comparison:
    """Compare two files; raises `UsageError` if one cannot be read or is not such a file."""
    first, second = (_figures(path, read_document(path)) for path in (before, after))
    return Comparison(
        rows=tuple(_row(first[name], second[name]) for name in first if name in second),
        only_before=tuple(name for name in first if name not in second),
        only_after=tuple(name for name in second if name not in first),
    )


def comparison_table(comparison: Comparison) -> str:
    """The comparison as text."""
    width = max((len(row.name) for row in comparison.rows), default=6)
    lines = [f"{'figure':{width}}  {'before':>12}  {'after':>12}  {'ratio':>7}  change"]
    for row in comparison.rows:
        figures = f"{row.before:12,.4g}  {row.after:12,.4g}  {row.ratio:7.2f}"
        lines.append(f"{row.name:{width}}  {figures}  {row.change} ({row.unit})")
    lines += [f"only in the first: {name}" for name in comparison.only_before]
    lines += [f"only in the second: {name}" for name in comparison.only_after]
    return "\n".join(lines)


def _row(before: Mapping[str, Any], after: Mapping[str, Any]) -> Row:
    low, high = min(after["values"]), max(after["values"])
    if low > max(before["values"]):
        change = Change.BETTER if before["higher_is_better"] else Change.WORSE
    elif high < min(before["values"]):
        change = Change.WORSE if before["higher_is_better"] else Change.BETTER
    else:
        change = Change.SAME
    return Row(
        name=before["name"],
        unit=before["unit"],
        before=before["median"],
        after=after["median"],
        change=change,
    )


def read_document(path: Path) -> Any:
    """The JSON of a file, or of the verdict.json in a report folder; raises `UsageError` if it cannot be read."""
    return read_json(path / "verdict.json" if path.is_dir() else path, REMEDY)


def _figures(path: Path, document: Any) -> dict[str, Mapping[str, Any]]:
    try:
        found = {figure["name"]: figure for figures in document["results"].values() for figure in figures}
        for figure in found.values():
            _ = figure["unit"], figure["median"] + 0, min(figure["values"]), figure["higher_is_better"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} holds no benchmark figures and no verdicts; {REMEDY}") from None
    return found
