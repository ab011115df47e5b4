"""index.html beside the report folders: every scenario with its verdicts over time, and every run.

It is made from the verdict.json of each folder. A scenario is flaky if runs of the same target in the same version
reached different verdicts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from harness.checkers.base import Verdict
from harness.history.figures import counted
from harness.report.compare_loads import LOAD_SCHEMA, as_scenarios
from harness.report.scales import seconds_text
from harness.report.svg import path, tag
from harness.report.verdict_json import SCHEMA

NAME = "index.html"
REPORTS = "reports"
"""The folder in which runs without `--report` write; only here an index is made without being asked for."""

MOST_RUNS = 200
"""The newest report folders that the index reads."""

TREND = 40
"""The newest runs in the picture of a scenario."""

MARK = "agentexec-harness index"
"""The generator in the head of an index. A file without it is not replaced."""

_STEP = 15.0
_HEIGHT = 18.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One scenario of one run.

    `recovery` is its p99 in seconds, None if it was not measured. `note` is what the verdict leaves open.
    """

    scenario: str
    target: str
    version: str
    verdict: Verdict
    lost: int | None
    recovery: float | None
    at: str
    href: str
    seed: object
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredReport:
    """One report folder. `at` is the ISO 8601 time at which it was written."""

    name: str
    at: str
    verdict: Verdict
    summary: str
    href: str
    judged: tuple[Judged, ...]
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """All runs of one scenario with one target, oldest first."""

    scenario: str
    target: str
    runs: tuple[Judged, ...]

    @property
    def latest(self) -> Judged:
        """The newest run."""
        return self.runs[-1]

    @property
    def flaky(self) -> str | None:
        """Which version had which verdicts, if one version had different ones; None otherwise."""
        by_version: dict[str, Counter[str]] = {}
        for one in self.runs:
            by_version.setdefault(one.version, Counter())[one.verdict.value] += 1
        differing = {version: seen for version, seen in by_version.items() if len(seen) > 1}
        return "; ".join(_seen(version, seen) for version, seen in differing.items()) or None

    @property
    def trend(self) -> Markup:
        """A mark per run, the newest at the right, each a link to its report."""
        shown = self.runs[-TREND:]
        marks = [_mark(one, (i + 0.5) * _STEP) for i, one in enumerate(shown)]
        box = f"0 0 {len(shown) * _STEP:.0f} {_HEIGHT:.0f}"
        name = f"{counted(len(self.runs), 'run')} of {self.scenario}"
        return tag(
            "svg",
            *marks,
            viewBox=box,
            width=len(shown) * _STEP,
            height=_HEIGHT,
            class_="trend",
            role="group",
            aria_label=name,
        )


def read_reports(folder: Path) -> tuple[list[StoredReport], list[str]]:
    """The reports in the folders of a folder, newest first, and the names of those that cannot be read."""
    files = sorted(folder.glob("*/verdict.json"), key=_modified, reverse=True)[:MOST_RUNS]
    found: list[StoredReport] = []
    unreadable: list[str] = []
    for file in files:
        try:
            found.append(_report(file))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(file.parent.name)
    return sorted(found, key=lambda report: (report.at, report.name), reverse=True), unreadable


def all_series(reports: Sequence[StoredReport]) -> list[Series]:
    """The runs by scenario and target: what is not VALID now first, then what is flaky, then by name."""
    found: dict[tuple[str, str], list[Judged]] = {}
    for report in reversed(reports):
        for one in report.judged:
            found.setdefault((one.scenario, one.target), []).append(one)
    series = [Series(scenario=name, target=by, runs=tuple(runs)) for (name, by), runs in found.items()]
    order = [Verdict.INVALID, Verdict.UNKNOWN]
    return sorted(
        series,
        key=lambda one: (
            order.index(one.latest.verdict) if one.latest.verdict in order else len(order),
            one.flaky is None,
            one.scenario,
            one.target,
        ),
    )


def is_index(path: Path) -> bool:
    """The file is an index that the harness wrote."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return MARK in file.read(2_000)
    except OSError:
        return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _report(file: Path) -> StoredReport:
    document = as_scenarios(json.loads(file.read_text("utf-8")))
    if document["schema"] not in (SCHEMA, LOAD_SCHEMA):
        raise ValueError(document["schema"])
    page = file.with_name("report.html")
    name, at = file.parent.name, str(document["written_at"])
    href = quote(f"{name}/{page.name if page.exists() else file.name}", errors="surrogateescape")
    return StoredReport(
        name=name,
        at=at,
        verdict=Verdict(document["verdict"]),
        summary=str(document["summary"]),
        href=href,
        judged=tuple(_judged(document["scenarios"], at, href)),
        note=document.get("verdict_note"),
    )


def _judged(scenarios: Sequence[Mapping[str, Any]], at: str, href: str) -> Iterator[Judged]:
    for one in scenarios:
        lost, recovery = (one["figures"].get(name) for name in ("lost", "recovery_p99"))
        yield Judged(
            scenario=str(one["scenario"]),
            target=str(one["target"]),
            version=str(one["target_version"]),
            verdict=Verdict(one["verdict"]),
            lost=lost if isinstance(lost, int) else None,
            recovery=float(recovery) if isinstance(recovery, int | float) else None,
            at=at,
            href=href,
            seed=one.get("seed"),
            note=one.get("verdict_note"),
        )


def _seen(version: str, seen: Counter[str]) -> str:
    return f"{version or 'without a version'}: {', '.join(f'{n} {verdict}' for verdict, n in seen.items())}"


def _mark(one: Judged, x: float) -> Markup:
    middle, size = _HEIGHT / 2, 5.5
    recovery = "" if one.recovery is None else f", recovery p99 {seconds_text(one.recovery)}"
    note = f" ({one.note})" if one.note else ""
    title = f"{one.verdict}{note} at {one.at}, {one.target} {one.version}, seed {one.seed}{recovery}"
    if one.verdict is Verdict.VALID:
        shape = tag("circle", cx=x, cy=middle, r=size)
    elif one.verdict is Verdict.INVALID:
        shape = tag("rect", x=x - size, y=middle - size, width=2 * size, height=2 * size)
    else:
        steps = (("M", x, middle - 7), ("L", x + 7, middle), ("L", x, middle + 7), ("L", x - 7, middle))
        shape = tag("path", d=path(*steps) + "Z")
    return tag("a", tag("title", title), shape, href=one.href, class_=one.verdict.lower().replace(" ", "-"))
