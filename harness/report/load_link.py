"""Where the files of the load of a run are, below the folder of its report."""

from __future__ import annotations

from pathlib import Path


def load_folder(folder: Path, scenario: str) -> Path:
    """The folder of the load of a scenario."""
    return folder / "load" / scenario


def load_page(folder: Path, scenario: str) -> Path | None:
    """The page of the load of a scenario, None if it has none."""
    page = load_folder(folder, scenario) / "report.html"
    return page if page.exists() else None
