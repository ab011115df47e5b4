"""The table of queues as a Markdown page: grid, findings, and each target with its settings and figures."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator

from harness.history.promises import Loss, Quote
from harness.queues.cells import BUDGET_SECONDS, POOL, TASKS
from harness.queues.table import Table, TableCell, cell_text, loss_text, recovery_text
from harness.report.facts import platform_facts
from harness.report.markdown_page import markdown_table, wrapped
from harness.report.scales import DASH

_HEAD = """# Queues under the same faults

`nox -s queues` writes this page. It puts each target under each loss in a cell of its own: embedded servers that no
other cell uses, and small pools that record their runs. A cell is judged by what the documentation of the target
promises, and by nothing else."""

_WORDS = """## What the words mean

- **VALID**: what the target promises for this loss is shown. **INVALID**: a promise is broken.
- **NOT ASKED**: the target does not promise that tasks survive this loss. The counts say what happened.
- **UNKNOWN**: the cell shows nothing, for example because a promise is longer than the budget of a cell.
- **lost**: acknowledged, and in no store that could bring it back. **stuck**: still there, and nothing moved it.
- **doubled**: the handler returned more than once. A target that promises at-least-once may do that.
- **recovery**: from the kill until an interrupted task begins again; p50 and p99.
- **—**: the loss cannot strike this target. **not run**: the limit of the whole table was reached."""


def document(table: Table, *, written_at: str, command: str) -> str:
    """The page. `written_at` is a date, `command` the one that wrote it."""
    parts = [_HEAD, *_summary(table, written_at), _grid(table), _WORDS, *_cell_settings(command)]
    parts += [
        *_findings(table),
        "## Targets",
        *(part for name in table.targets for part in _target(table, name)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(table: Table, written_at: str) -> Iterator[str]:
    counts = ", ".join(f"{number} {verdict}" for verdict, number in table.counts.items() if number)
    facts = platform_facts()
    yield wrapped(
        f"{written_at}: {len(table.targets)} targets, {len(table.losses)} losses, {len(table.cells)} cells: "
        f"{counts or 'none has run'}. {table.agreement} {facts['python']}, {platform.system()} "
        f"on {platform.machine()}, {os.cpu_count()} cores."
    )


def _grid(table: Table) -> str:
    rows = [
        [
            f"[{name}](#{_anchor(name)})",
            *(_grid_text(table, name, loss, cell) for loss, cell in table.row(name)),
        ]
        for name in table.targets
    ]
    return markdown_table(["target", *map(loss_text, table.losses)], rows)


def _grid_text(table: Table, target: str, loss: Loss, cell: TableCell | None) -> str:
    if cell is None:
        return table.empty_text(target, loss)
    return cell_text(cell) if cell.agrees else f"{cell_text(cell)} ({cell.share})"


def _cell_settings(command: str) -> Iterator[str]:
    yield "## Repeat it"
    yield wrapped(
        f"Each cell is the scenario `cell-LOSS` of `harness/queues/cells.py`: {TASKS} tasks, {POOL.workers} workers "
        f"with {POOL.concurrency} slots each (or what the target can have), a lease of {POOL.lease:g} s and a graceful "
        f"time-out of {POOL.graceful_shutdown:g} s where the target has such settings, and at most "
        f"{BUDGET_SECONDS:g} s. The whole table, and one cell of it:"
    )
    yield f"```console\n$ {command}\n$ harness queues --only celery@late/worker-killed --again\n```"


def _findings(table: Table) -> Iterator[str]:
    yield "## Findings"
    for title, cells, empty in (
        (
            "### Promises that were broken",
            table.broken_promises,
            "No target broke a promise in every repeat.",
        ),
        (
            "### Losses where nothing is promised",
            table.unpromised_losses,
            "No target lost tasks without a promise to keep them.",
        ),
    ):
        yield title
        yield "\n".join(_finding(cell) for cell in cells) or empty


def _finding(cell: TableCell) -> str:
    run = cell.first
    text = f"**{run.cell.target}, {loss_text(run.cell.loss)}**: {run.why}."
    quoted = "" if run.promise is None else f" {_quote(run.promise)}"
    share = f" The same in {cell.share} repeats." if cell.share else ""
    lines = wrapped(f"{text}{quoted}{share}", first="- ", rest="  ")
    return f"{lines}\n\n  ```console\n  $ {run.command}\n  ```\n"


def _quote(quote: Quote) -> str:
    return f"Its documentation: “{quote.sentence}” (<{quote.address}>)"


def _target(table: Table, name: str) -> Iterator[str]:
    yield f"### {name}"
    result = table.some_result(name)
    if result is None:
        yield "No cell of this target has run."
        return
    servers = ", ".join(result.servers.values())
    yield wrapped(f"Version {result.version or 'unknown'}" + (f", on {servers}." if servers else "."))
    yield "\n".join(
        wrapped(f"`{key}`: {value}", first="- ", rest="  ") for key, value in result.settings.items()
    )
    rows = [[loss_text(loss), *_figures(cell)] for loss, cell in table.row(name) if cell is not None]
    yield markdown_table(
        ["loss", "verdict", "repeats", "lost", "stuck", "doubled", "recovery p50 / p99", "why"], rows
    )


def _figures(cell: TableCell) -> list[str]:
    run = cell.first
    counts = [DASH if number is None else str(number) for number in (run.lost, run.stuck, run.doubled)]
    return [str(cell.verdict), cell.share or "1", *counts, recovery_text(run), run.why or DASH]


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
