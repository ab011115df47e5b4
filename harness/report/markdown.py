"""The verdicts as Markdown, for the summary of a CI job or a comment."""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.masking import one_line
from harness.report.headline import headline, overall, sentence, verdict_text, worst_first
from harness.report.scales import DASH, seconds_text
from harness.scenario import ScenarioRun

SHOWN = 10
"""The most counterexamples of a checker in the summary; the other reports have all of them."""
_COLUMNS = (
    "scenario",
    "verdict",
    "tasks",
    "faults",
    "kills",
    "lost",
    "stuck",
    "duplicated",
    "illegal",
    "recovery p50 / p99",
)
_SIGNS = {Verdict.VALID: "✅", Verdict.INVALID: "❌"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~#@])")


def markdown(runs: Sequence[ScenarioRun]) -> str:
    """A heading with the verdict, a table of the scenarios, and what is wrong with those that are not VALID."""
    lines = [headline(run) for run in runs]
    rows = [
        f"## {_signed(runs)}",
        "",
        plain_text(sentence(runs, lines)),
        "",
        f"| {' | '.join((*_COLUMNS, 'time'))} |",
        f"|---|---|{'---:|' * (len(_COLUMNS) - 1)}",
    ]
    for run, line in zip(runs, lines, strict=True):
        counts = (line.lost, line.stuck, line.duplicated, line.illegal)
        recovery = f"{seconds_text(line.recovery_p50)} / {seconds_text(line.recovery_p99)}"
        cells = [
            plain_text(run.scenario),
            _signed([run]),
            *(str(one) for one in (line.tasks, line.faults, line.kills)),
            *(DASH if count is None else str(count) for count in counts),
            DASH if line.recovery_p50 is None else recovery,
            seconds_text(line.seconds),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    for run in runs:
        if run.verdict is not Verdict.VALID:
            rows += ["", *_details(run)]
    return "\n".join(rows) + "\n"


def check_file(path: Path, what: str = "summary") -> Path:
    """The path itself; raises `UsageError` if no file can be written there, before anything is started."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            return path
    except OSError as error:
        raise _unwritable(path, error, what) from None


def write_markdown(runs: Sequence[ScenarioRun], path: Path) -> None:
    """Write the summary to a file; raises `UsageError` if that is not possible."""
    try:
        path.write_text(markdown(runs), encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from None


def write_step_summary(runs: Sequence[ScenarioRun]) -> None:
    """In a job of GitHub, add the summary to the page of the job. A failure is reported and changes no verdict."""
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        append_step_summary(markdown(runs))


def append_step_summary(text: str) -> None:
    """In a job of GitHub, add Markdown to the page of the job. A failure is reported and changes no verdict."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"harness: {_unwritable(Path(path), error)}", file=sys.stderr)


def _unwritable(path: Path, error: OSError, what: str = "summary") -> UsageError:
    why = os.strerror(error.errno or 0)
    return UsageError(f"The {what} {path} cannot be written ({why}); name another file.")


def _details(run: ScenarioRun) -> list[str]:
    found = [
        f"<details open><summary>{_signed([run])} {plain_text(run.scenario)}</summary>",
        "",
    ]
    if run.error is not None:
        found.append(f"- {plain_text(run.error)}")
    results = list(run.results.items())
    for name, result in results if run.skipped else worst_first(results):
        found.append(f"- **{plain_text(name)}** {result.verdict}: {plain_text(result.summary)}")
        if result.promise is not None:
            found.append(
                f"  - promised: “{plain_text(result.promise.sentence)}” ({plain_text(result.promise.address)})"
            )
        members = result.counterexamples
        for member in members[:SHOWN]:
            task, kind, why = (member.get(key) for key in ("task", "kind", "why"))
            words = [*([] if task is None else [f"task {task}"]), *(str(one) for one in (kind, why) if one)]
            found.append(f"  - {plain_text(': '.join(words) or 'see the report')}")
        if len(members) > SHOWN:
            found.append(f"  - {len(members) - SHOWN} more in the report")
    return [*found, "", *_code(run.repeat), "", "</details>"]


def _code(text: str) -> list[str]:
    line = one_line(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return [f"{fence}console", line, fence]


def plain_text(text: str) -> str:
    """Text of a run as it may go into Markdown: no markup, no mention of a user, no line break."""
    return _SPECIAL.sub(r"\\\1", html.escape(one_line(text), quote=False))


def signed(verdict: Verdict, text: str | None = None) -> str:
    """The verdict, or another text for it, with its sign."""
    return f"{_SIGNS.get(verdict, '❔')} {text or verdict}"


def _signed(runs: Sequence[ScenarioRun]) -> str:
    return signed(overall(runs), verdict_text(runs))
