"""The files of the load of a chaos run, beside its report: verdict.json, junit.xml, summary.md and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import FOREIGN_ERRORS
from harness.load.files import LoadCourse, LoadPaths, write_load
from harness.load.load_checker import JudgedLoad, judged_load
from harness.report.load_link import load_folder
from harness.report.picture_data import FaultRow, data_of
from harness.scenario import ScenarioRun


def write_run_load(run: ScenarioRun, folder: Path) -> LoadPaths | None:
    """Write the load of a run below the folder of its report, with its faults; None if its history has none to show.

    Raises `UsageError` if the files cannot be written.
    """
    try:
        judged = judged_load(run.history)
    except FOREIGN_ERRORS:  # the checker of the load says what is wrong with the history
        return None
    if judged is None:
        return None
    facts = {
        "scenario": run.scenario,
        "target": f"{run.target} {run.target_version}",
        "verdict of the chaos run": run.verdict.value,
        **({} if judged.load.baseline is None else {"baseline": judged.load.baseline.run}),
    }
    evidence = judged.verdict.evidence
    verdict = replace(judged.verdict, evidence=replace(evidence, facts={**facts, **evidence.facts}))
    course = LoadCourse(
        series=judged.measured.figures.series, stages=judged.load.stages(), faults=_faults(run, judged)
    )
    earlier = None if judged.load.baseline is None else judged.load.baseline.document
    return write_load(verdict, load_folder(folder, run.scenario), course=course, baseline=earlier)


def _faults(run: ScenarioRun, judged: JudgedLoad) -> list[FaultRow]:
    """The faults of the run, in seconds since the start of the load."""
    first = run.history.operations[0].time
    earlier = -judged.load.second(first)
    return [
        replace(one, start=one.start - earlier, end=None if one.end is None else max(0.0, one.end - earlier))
        for one in data_of(run).faults
        if not one.failed
    ]
