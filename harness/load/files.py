"""The files of a load: verdict.json, junit.xml and summary.md, and with its course series.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.checkers.base import Verdict
from harness.command_line import read_json
from harness.errors import UsageError
from harness.load.document import load_document
from harness.load.load_time import LoadTime
from harness.load.page import load_html
from harness.load.resources import amount_text, per_task_text
from harness.load.schedule import PlacedStage
from harness.load.series import LoadSeries
from harness.load.thresholds import ThresholdOutcome
from harness.load.verdict import LoadEvidence, LoadVerdict
from harness.report.compare_loads import LOAD_SCHEMA
from harness.report.folder import prepare_folder, write_whole
from harness.report.junit import add_case, add_properties, add_suite, document_text, new_document
from harness.report.markdown import append_step_summary, plain_text, signed
from harness.report.picture_data import FaultRow
from harness.report.scales import DASH

GENERATOR = "generator"
"""The test case that says whether the load was what it was meant to be."""

_QUANTILES = ("p50", "p95", "p99", "max")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPaths:
    """Where the files of a load are."""

    json: Path
    junit: Path
    markdown: Path
    html: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadCourse:
    """What the page shows over time: the series, the stages that began, and the faults."""

    series: LoadSeries
    stages: Sequence[PlacedStage] = ()
    faults: Sequence[FaultRow] = ()


def write_load(
    verdict: LoadVerdict,
    folder: Path,
    *,
    course: LoadCourse | None = None,
    baseline: Path | Mapping[str, Any] | None = None,
) -> LoadPaths:
    """Write the files into the folder, and the summary to the page of a job of GitHub; raises `UsageError`.

    Files of other names in the folder are left alone. The page and the summary compare this load with `baseline`, the
    verdict.json of an earlier load or its content.
    """
    earlier = read_load(baseline) if isinstance(baseline, Path) else baseline
    folder = prepare_folder(folder)
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    paths = LoadPaths(
        json=folder / "verdict.json",
        junit=folder / "junit.xml",
        markdown=folder / "summary.md",
        html=None if course is None else folder / "report.html",
    )
    document = load_document(verdict, written_at=written_at)
    text = load_markdown(verdict, document, earlier)
    write_whole(paths.json, _json(document, indent=2))
    write_whole(paths.junit, load_junit(verdict, written_at=written_at))
    write_whole(paths.markdown, text)
    if course is not None and paths.html is not None:
        time = LoadTime.of(
            course.series, verdict.evidence.seconds, stages=course.stages, faults=course.faults
        )
        write_whole(folder / "series.json", _json(course.series.to_value()))
        write_whole(paths.html, load_html(document, time, baseline=earlier))
    append_step_summary(text)
    return paths


def read_load(path: Path) -> dict[str, Any]:
    """The verdict.json of a load, given by its path or by its folder; raises `UsageError` if there is none."""
    path = path / "verdict.json" if path.is_dir() else path
    document = read_json(path, "name the verdict.json of a load, or its folder.")
    if not isinstance(document, dict) or document.get("schema") != LOAD_SCHEMA:
        raise UsageError(f"{path} is no verdict of a load; name the verdict.json of one.")
    return document


def baseline_name(document: Mapping[str, Any]) -> str:
    """What an earlier load is called: its id, or the time of a load of a chaos run."""
    return str(document["facts"].get("run") or f"of {document.get('written_at', 'an unknown time')}")


def load_junit(verdict: LoadVerdict, *, written_at: str) -> str:
    """A test suite with a test case for each threshold, and one for the generator."""
    cases = [
        (f"{result.threshold.row}: {result.threshold.text}", result.outcome.verdict, result.text)
        for result in verdict.results
    ]
    doubts = [doubt.text for doubt in verdict.doubts]
    cases.append((GENERATOR, Verdict.of(wrong=False, unsure=bool(doubts)), "; ".join(doubts)))
    root = new_document()
    suite = add_suite(
        root,
        "load",
        [one for _, one, _ in cases],
        seconds=verdict.evidence.seconds,
        written_at=written_at,
    )
    add_properties(suite, verdict.evidence.facts)
    for name, one, text in cases:
        add_case(suite, "load", name, one, text)
    return document_text(root)


def load_markdown(
    verdict: LoadVerdict, document: Mapping[str, Any], baseline: Mapping[str, Any] | None = None
) -> str:
    """The verdict for a pull request: one sentence, the thresholds, the doubts, and the rows.

    With a `baseline`, the document of an earlier load, each row has its p99 too.
    """
    lines = [f"## {signed(verdict.verdict)}: load {verdict.outcome}", "", plain_text(verdict.summary), ""]
    lines += ["| threshold | outcome | measured |", "|---|---|---:|"]
    for result in verdict.results:
        shown = result.reason if result.measured is None else result.threshold.shown(result.measured)
        name = f"{result.threshold.row}: {result.threshold.text}"
        cells = (plain_text(name), signed(result.outcome.verdict, result.outcome), plain_text(shown or ""))
        lines.append(f"| {' | '.join(cells)} |")
    columns = [*_QUANTILES, *(() if baseline is None else ("p99 of the baseline",))]
    lines += [
        "",
        f"| row | count | errors | {' | '.join(columns)} |",
        "|---|---:|---:|" + "---:|" * len(columns),
    ]
    for name, row in document["rows"].items():
        latency = row["latency"] or {}
        times = [_milliseconds(latency.get(one)) for one in _QUANTILES]
        if baseline is not None:
            times.append(_milliseconds((baseline["rows"].get(name, {}).get("latency") or {}).get("p99")))
        lines.append(f"| {' | '.join((plain_text(name), str(row['count']), str(row['errors']), *times))} |")
    if baseline is not None:
        lines += ["", f"The baseline is the load {plain_text(baseline_name(baseline))}."]
    lines += ["", *_resource_lines(verdict.evidence)]
    lines += ["", *(f"- {plain_text(doubt.text)}" for doubt in verdict.doubts)]
    return "\n".join(lines).rstrip() + "\n"


def _resource_lines(evidence: LoadEvidence) -> Iterator[str]:
    """A table of the gauges that have values, a line for each reason why others have none, and the servers' logs."""
    if evidence.resources:
        yield "| resource | mean | max | per acknowledged task |"
        yield "|---|---:|---:|---:|"
    for one in evidence.resources:
        if one.most is not None:
            amounts = (amount_text(one.mean, one.unit), amount_text(one.most, one.unit))
            cells = map(plain_text, (one.name, *amounts, per_task_text(one.name, one.per_task)))
            yield f"| {' | '.join(cells)} |"
    yield ""
    missing: dict[str, list[str]] = {}
    for one in evidence.resources:
        if one.why:
            why = one.why if one.most is not None else f"not measurable, {one.why}"
            missing.setdefault(why, []).append(one.name)
    for why, names in missing.items():
        yield f"- {plain_text(', '.join(names))}: {plain_text(why)}"
    for log in evidence.logs:
        yield f"- {plain_text(log.text)}"


def load_table(verdict: LoadVerdict) -> str:
    """The verdict for a terminal."""
    lines = [f"{result.outcome.value:>14}  {result.text}" for result in verdict.results]
    lines += [f"{ThresholdOutcome.NOT_MEASURABLE.value:>14}  {doubt.text}." for doubt in verdict.doubts]
    return "\n".join([*lines, "", verdict.summary])


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def _milliseconds(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or DASH
    return f"{value * 1000:,.4g} ms"
