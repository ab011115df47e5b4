"""The three files of a report, and the index of the reports beside each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import UsageError
from harness.report.folder import prepare_folder, write_whole
from harness.report.index import NAME, REPORTS, all_series, is_index, read_reports
from harness.report.junit import junit_xml
from harness.report.page import index_html, report_html
from harness.report.verdict_json import verdict_json
from harness.scenario import ScenarioRun


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPaths:
    """Where the reports are."""

    html: Path
    json: Path
    junit: Path


def write_reports(runs: Sequence[ScenarioRun], folder: Path) -> ReportPaths:
    """Write `report.html`, `verdict.json` and `junit.xml` into the folder, replacing older ones.

    Also update the index of the runs beside it, if the folder is in `reports` or beside an index.

    Raises `UsageError` if the folder cannot be written to.
    """
    folder = prepare_folder(folder)
    written_at = _now()
    paths = ReportPaths(html=folder / "report.html", json=folder / "verdict.json", junit=folder / "junit.xml")
    write_whole(paths.html, report_html(runs, folder=folder, written_at=written_at))
    write_whole(paths.json, verdict_json(runs, written_at=written_at))
    write_whole(paths.junit, junit_xml(runs, written_at=written_at))
    update_index(folder.parent)
    return paths


def write_page(run: ScenarioRun, path: Path) -> None:
    """Write the page of one run to a file; raises `UsageError` if that is not possible."""
    folder = path.absolute().parent
    remedy = "free some space or name another file with --html FILE."
    with contextlib.suppress(OSError):  # the attempt to write says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, report_html([run], folder=folder.resolve(), written_at=_now()), remedy=remedy)


def update_index(folder: Path) -> Path | None:
    """Write the index of the folder if it is `reports` or has an index already; None if it does not.

    A folder in which no file can be written is left as it is.
    """
    if folder.name != REPORTS and not is_index(folder / NAME):
        return None
    with contextlib.suppress(UsageError):
        return write_index(folder)
    return None


def write_index(folder: Path) -> Path:
    """Write the index of the report folders in a folder.

    Raises `UsageError` if there are none, if it cannot be written, or if it would replace a file of another program.
    """
    target = folder / NAME
    if target.exists() and not is_index(target):
        raise UsageError(f"{target} is not an index of reports; move it away, or name another folder.")
    reports, unreadable = read_reports(folder)
    if not reports:
        raise UsageError(
            f"No folder in {folder} has a readable verdict.json; name a folder of report folders."
        )
    write_whole(target, index_html(reports, all_series(reports), unreadable=unreadable))
    return target


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
