"""The evidence of a load of any kind: its figures, what was sampled meanwhile, and what the whole run has besides."""

from __future__ import annotations

from collections.abc import Mapping

from harness.load.figures import Figures
from harness.load.resources import WAL, Sampled, resources
from harness.load.rows import LoadRow
from harness.load.verdict import ALL, LoadBounds, LoadEvidence


def evidence_of(
    figures: Figures,
    sampled: Sampled,
    *,
    planned: float,
    seconds: float,
    tasks: int,
    of_all: Mapping[str, float | None],
    lateness: float,
) -> LoadEvidence:
    """What every load leaves to be judged; the series of `figures` has the gauges of all its processes.

    `tasks` are those that used what was sampled. `of_all` are figures of the whole run, None for one that is not known.
    `lateness` is the bound of the generator's own p99, in seconds. Tasks without a name have no row of their own.
    """
    rows = figures.all_rows(planned=figures.accounting.due, seconds=seconds)
    whole = {"log_errors": sampled.log_errors, "wal_bytes_per_task": sampled.per_task(WAL, tasks), **of_all}
    known = {name: value for name, value in whole.items() if value is not None}
    return LoadEvidence(
        accounting=figures.accounting,
        planned=planned,
        seconds=seconds,
        rows={
            **{name: row for name, row in rows.items() if not name.endswith(" ")},
            ALL: LoadRow(figures=known),
        },
        bounds=LoadBounds.of(lateness),
        worst=figures.worst,
        resources=list(resources(sampled, figures.series, tasks)),
        logs=sampled.logs,
    )
