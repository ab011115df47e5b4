"""Reports of runs, for people and for programs: report.html, verdict.json, junit.xml and a table for the terminal."""

from __future__ import annotations

from harness.report.folder import claimed_folder, locked_folder, prepare_folder
from harness.report.table import verdict_table
from harness.report.write import ReportPaths, write_reports

__all__ = [
    "ReportPaths",
    "claimed_folder",
    "locked_folder",
    "prepare_folder",
    "verdict_table",
    "write_reports",
]
