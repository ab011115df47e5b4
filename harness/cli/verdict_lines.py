"""The verdict of each scenario as soon as it ends, for a log or a terminal, and as an annotation of GitHub."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO

from harness.checkers.base import Verdict
from harness.checkers.steady_state import PHASES
from harness.history.figures import counted
from harness.masking import one_line
from harness.progress import is_animated
from harness.report.headline import headline, verdict_text, worst_first
from harness.report.scales import seconds_text
from harness.report.table import painted
from harness.report.text import clean
from harness.scenario import ScenarioRun

_ERASE = "\r\x1b[2K"
# GitHub shortens longer messages.
_LONGEST_MESSAGE = 4000


def show_verdict(run: ScenarioRun, out: TextIO) -> None:
    """Print the line of one run, and its annotation in a job of GitHub. A stream that is gone or full is ignored."""
    animated = is_animated(out)
    line = verdict_line(run, colour=animated)
    # A spinner on the same terminal continues on the next line.
    text = f"{_ERASE if animated else ''}{line}\n"
    if in_github() and run.verdict is not Verdict.VALID:
        text += f"{annotation(run)}\n"
    with suppress(OSError):
        out.write(text)
        out.flush()


def in_github() -> bool:
    """Whether this process belongs to a job of GitHub."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def verdict_line(run: ScenarioRun, *, colour: bool = False) -> str:
    """One line: the scenario, its verdict, its figures, and the first reason if it is not VALID."""
    line = headline(run)
    figures = [
        counted(line.tasks, "task"),
        counted(line.faults, "fault"),
        f"{line.kills} killed",
        *([] if line.lost is None else [f"{line.lost} lost"]),
        *([f"{line.stuck} stuck"] if line.stuck else []),
        *_steady(run),
        seconds_text(line.seconds),
    ]
    text = verdict_text([run])
    verdict = painted(text, run.verdict) if colour else text
    why = reasons(run)
    return f"{one_line(run.scenario)}: {verdict}, {', '.join(figures)}{f'; {why[0]}' if why else ''}"


def _steady(run: ScenarioRun) -> list[str]:
    """The rates of tasks before, during and after the faults, if the run has them."""
    found = run.results.get("steady")
    rates = [found.figures.get(f"rate_{phase}") for phase in PHASES] if found is not None else []
    if all(rate is None for rate in rates):
        return []
    shown = "/".join("-" if rate is None else f"{rate:.1f}" for rate in rates)
    return [f"{shown} tasks/s before/during/after"]


def reasons(run: ScenarioRun) -> list[str]:
    """Why the run is not VALID, the most serious reason first, each in one line."""
    found = [f"{name}: {result.summary}" for name, result in worst_first(list(run.results.items()))]
    found += [run.error] if run.error is not None else []
    return list(map(one_line, found))


def annotation(run: ScenarioRun) -> str:
    """The run as a workflow command of GitHub, which shows it beside the job and in the pull request."""
    title = f"{run.scenario}: {run.verdict}"
    message = "\n".join([*reasons(run), f"repeat: {run.repeat}"])[:_LONGEST_MESSAGE]
    return f"::error title={_escaped(clean(title), ':,')}::{_escaped(clean(message))}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
