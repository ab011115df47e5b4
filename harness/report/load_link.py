"""Where the files of the load of a run are, below the folder of its report."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

FILES = ("report.html", "verdict.json", "junit.xml", "summary.md", "series.json")
"""The files of the load of a run."""


def load_folder(folder: Path, scenario: str) -> Path:
    """The folder of the load of a scenario."""
    return folder / "load" / scenario


def remove_loads(folder: Path) -> None:
    """Remove the files of the loads of an earlier run, and nothing else."""
    for load in filter(_is_of_a_run, (folder / "load").glob("*/")):
        for name in FILES:
            (load / name).unlink(missing_ok=True)
        with suppress(OSError):  # it has other files
            load.rmdir()


def _is_of_a_run(folder: Path) -> bool:
    try:
        document = json.loads((folder / "verdict.json").read_text("utf-8"))
        return bool(document["facts"]["scenario"] == folder.name)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def load_page(folder: Path, scenario: str) -> Path | None:
    """The page of the load of a scenario, None if it has none."""
    page = load_folder(folder, scenario) / "report.html"
    return page if page.exists() else None
