"""The three files of a report, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import UsageError
from harness.report.folder import prepare_folder
from harness.report.junit import junit_xml
from harness.report.page import report_html
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

    Raises `UsageError` if the folder cannot be written to.
    """
    folder = prepare_folder(folder)
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    paths = ReportPaths(html=folder / "report.html", json=folder / "verdict.json", junit=folder / "junit.xml")
    _write(paths.html, report_html(runs, folder=folder, written_at=written_at))
    _write(paths.json, verdict_json(runs, written_at=written_at))
    _write(paths.junit, junit_xml(runs, written_at=written_at))
    return paths


def _write(path: Path, content: str) -> None:
    # A reader (a browser, a CI step) never sees a partial report.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(
            f"The report {path} cannot be written ({os.strerror(error.errno or 0)}); "
            "free some space or name another folder with --report DIR."
        ) from None
