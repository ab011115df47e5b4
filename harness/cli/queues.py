"""`harness queues`: many targets under the same losses, as a table of cells."""

from __future__ import annotations

import shlex
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harness.command_line import filled_path, job_count, positive, whole
from harness.errors import EXIT_UNKNOWN, EXIT_VALID
from harness.history.figures import counted
from harness.progress import progress_on
from harness.queues.cells import LOSSES, TASKS
from harness.queues.document import document
from harness.queues.matrix import Selection
from harness.queues.page import page_html
from harness.queues.result import FILE, Cell, CellResult, read_results
from harness.queues.run import CellRunner
from harness.queues.table import Table
from harness.report import locked_folder

_MINUTES = 75


def add_queues(parser: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.set_defaults(run=run_queues)
    parser.add_argument(
        "--targets", nargs="+", default=(), metavar="NAME", help="default: every known target"
    )
    parser.add_argument("--faults", nargs="+", default=(), metavar="LOSS", help=f"of {', '.join(LOSSES)}")
    parser.add_argument("--only", nargs="+", default=(), metavar="TARGET/LOSS", help="these cells")
    parser.add_argument("--repeat", type=positive, default=1, metavar="N", help="run each cell N times")
    parser.add_argument("--again", action="store_true", help="run cells again that have a result")
    parser.add_argument("--jobs", type=job_count, default=2, metavar="N", help="cells at a time (default 2)")
    parser.add_argument(
        "--minutes",
        type=positive,
        default=_MINUTES,
        metavar="N",
        help=f"begin no cell later (default {_MINUTES})",
    )
    parser.add_argument(
        "--seed", type=whole, default=1, metavar="N", help="seed of the first repeat (default 1)"
    )
    parser.add_argument("--tasks", type=positive, default=TASKS, metavar="N", help=f"default {TASKS}")
    parser.add_argument("--report", type=filled_path, default=Path("reports", "queues"), metavar="DIR")
    parser.add_argument(
        "--document", type=filled_path, metavar="FILE", help="also write the table as Markdown"
    )
    parser.add_argument("--no-run", action="store_true", help="only write the pages of the existing results")


def run_queues(options: Namespace) -> int:
    """Run the cells that have no result yet and write the pages; returns 2 if a cell is still without a result."""
    with locked_folder(options.report) as folder:
        return _run_queues(options, folder)


def _run_queues(options: Namespace, folder: Path) -> int:
    selection = Selection(
        targets=options.targets, losses=options.faults, only=options.only, repeats=options.repeat
    )
    cells = selection.cells()
    todo = [] if options.no_run else [one for one in cells if options.again or not _has_result(one, folder)]
    try:
        if todo:
            _run(options, todo, folder)
    finally:  # also on Ctrl-C: every result that exists is on the page
        table = Table.of(read_results(folder), cells)
        _write(options, table, folder)
    missing = [cell for cell in cells if not _has_result(cell, folder)]
    for verdict, number in table.counts.items():
        print(f"{verdict:<10} {number}")
    print(table.agreement or "No cell was repeated.")
    if missing:
        print(f"{counted(len(missing), 'cell', 'have')} no result; run the same command again.")
    print(f"page: {folder / 'index.html'}")
    return EXIT_UNKNOWN if missing else EXIT_VALID


def _run(options: Namespace, cells: Sequence[Cell], folder: Path) -> None:
    with progress_on() as progress:
        progress.step(
            f"{counted(len(cells), 'cell')}, {options.jobs} at a time, for at most {options.minutes} min"
        )
        CellRunner(
            folder=folder,
            seed=options.seed,
            tasks=options.tasks,
            jobs=options.jobs,
            deadline=time.monotonic() + 60 * options.minutes,
            progress=progress,
        ).run(cells)


def _write(options: Namespace, table: Table, folder: Path) -> None:
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    (folder / "index.html").write_text(page_html(table, written_at=today), "utf-8")
    if options.document is not None:
        words = ["harness", "queues", *(["--repeat", str(options.repeat)] if options.repeat > 1 else [])]
        text = document(table, written_at=today, command=shlex.join(words))
        options.document.write_text(text, "utf-8")


def _has_result(cell: Cell, folder: Path) -> bool:
    path = folder / cell.folder / FILE
    return path.exists() and CellResult.read(path).is_final
