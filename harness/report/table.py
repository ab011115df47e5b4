"""The verdicts as a table for a terminal or a log, followed by the reasons of those that are not VALID."""

from __future__ import annotations

from collections.abc import Sequence

from harness.checkers.base import CheckResult, Verdict
from harness.masking import one_line
from harness.report.headline import Headline, headline, overall, verdict_text, worst_first
from harness.report.scales import DASH, seconds_text
from harness.scenario import ScenarioRun

HEADER = (
    "scenario",
    "verdict",
    "tasks",
    "faults/kills",
    "lost",
    "stuck",
    "dup.",
    "illegal",
    "recovery p50/p99",
    "seconds",
)
COLOURS = {
    Verdict.VALID: "\x1b[32m",
    Verdict.INVALID: "\x1b[1;31m",
    Verdict.UNKNOWN: "\x1b[33m",
    Verdict.NOT_ASKED: "\x1b[90m",
}
RESET = "\x1b[0m"


def verdict_table(runs: Sequence[ScenarioRun], *, colour: bool = False) -> str:
    """One line per scenario, a line per reason of any that is not VALID, and the verdict over all of them."""
    rows = [_row(run, headline(run)) for run in runs]
    widths = [max(len(row[i]) for row in [HEADER, *rows]) for i in range(len(HEADER))]
    lines = [_line(HEADER, widths), _line(["-" * width for width in widths], widths)]
    for run, row in zip(runs, rows, strict=True):
        line = _line(row, widths)
        lines.append(line.replace(row[1], painted(row[1], run.verdict), 1) if colour else line)
    reasons = [reason for run in runs for reason in _reasons(run)]
    end = painted(verdict_text(runs), overall(runs)) if colour else verdict_text(runs)
    return "\n".join([*lines, *(["", *reasons] if reasons else []), "", f"verdict: {end}"])


def painted(text: str, verdict: Verdict) -> str:
    """The text in the colour of a verdict, for a terminal."""
    return f"{COLOURS[verdict]}{text}{RESET}"


def _row(run: ScenarioRun, line: Headline) -> list[str]:
    recovery = f"{seconds_text(line.recovery_p50)} / {seconds_text(line.recovery_p99)}"
    return [
        one_line(run.scenario),
        verdict_text([run]),
        f"{line.tasks:,}",
        f"{line.faults}/{line.kills}",
        *(
            DASH if count is None else f"{count:,}"
            for count in (line.lost, line.stuck, line.duplicated, line.illegal)
        ),
        DASH if line.recovery_p50 is None else recovery,
        f"{line.seconds:.1f}",
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _promise(result: CheckResult) -> str:
    quote = result.promise
    return "" if quote is None else f'; promised: "{quote.sentence}" ({quote.address})'


def _reasons(run: ScenarioRun) -> list[str]:
    found = [
        f"{result.verdict} {run.scenario}, {name}: {result.summary}{_promise(result)}"
        for name, result in worst_first(list(run.results.items()))
    ]
    if run.skipped:
        found += [f"{run.verdict} {run.scenario}: {result.summary}" for result in run.results.values()]
    elif run.error is not None:
        found.append(f"UNKNOWN {run.scenario}: {run.error}")
    elif not run.results:
        found.append(f"UNKNOWN {run.scenario}: no checker was run")
    return list(map(one_line, found))
