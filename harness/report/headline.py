"""The line of a run in every table: figures of its checkers, and counts of its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.checkers.asked import unasked
from harness.checkers.base import CheckResult, Verdict
from harness.history import History
from harness.history.faults import injected_faults, kills
from harness.history.figures import counted
from harness.scenario import ScenarioRun

# The most tasks that the sentence about all runs names.
NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One line of the table. Times are seconds.

    None if the checker of a figure did not run, is UNKNOWN, or had nothing to measure.
    """

    tasks: int
    faults: int
    kills: int
    lost: int | None
    stuck: int | None
    duplicated: int | None
    illegal: int | None
    recovery_p50: float | None
    recovery_p99: float | None
    seconds: float


def headline(run: ScenarioRun) -> Headline:
    """The line of one run; `kills` counts killed processes, parents of pools included.

    Raises `HarnessError` if a checker reached a verdict without a figure of the line.
    """
    faults, killed = _faults_and_kills(run.history)
    return Headline(
        tasks=run.tasks,
        faults=faults,
        kills=killed,
        lost=_count(run, "delivery", "lost"),
        stuck=_optional_count(run, "delivery", "stuck"),
        duplicated=_count(run, "delivery", "duplicated"),
        illegal=_count(run, "transitions", "illegal"),
        recovery_p50=_figure(run, "recovery", "p50"),
        recovery_p99=_figure(run, "recovery", "p99"),
        seconds=run.seconds,
    )


def _faults_and_kills(history: History) -> tuple[int, int]:
    try:
        return len(injected_faults(history)), len(kills(history))
    except ValueError:  # a fault that cannot be read counts as none; the checkers are UNKNOWN over it
        return 0, 0


def overall(runs: Sequence[ScenarioRun]) -> Verdict:
    """The verdict over all runs; UNKNOWN over none, and NOT ASKED if all were skipped."""
    if runs and all(run.skipped for run in runs):
        return Verdict.NOT_ASKED
    return Verdict.combine(run.verdict for run in runs)


def verdict_note(runs: Sequence[ScenarioRun]) -> str | None:
    """What the verdict VALID over these runs leaves open, as in `delivery not asked: 3 lost`; None if nothing."""
    runs = [run for run in runs if not run.skipped]
    found = [(run, note) for run in runs if (note := unasked(run.results)) is not None]
    if not found or overall(runs) is not Verdict.VALID:
        return None
    if len(runs) == 1:
        return found[0][1]
    counts = {
        name: sum(_optional_count(run, "delivery", name) or 0 for run, _ in found)
        for name in ("lost", "stuck")
    }
    listed = [f"{number} {name}" for name, number in counts.items() if number or name == "lost"]
    return f"delivery not asked in {len(found)} of {len(runs)} scenarios: {', '.join(listed)}"


def verdict_text(runs: Sequence[ScenarioRun]) -> str:
    """The verdict over these runs with its note, as in `VALID (delivery not asked: 3 lost)`."""
    verdict, note = overall(runs), verdict_note(runs)
    return verdict.value if note is None else f"{verdict} ({note})"


def worst_first(results: Sequence[tuple[str, CheckResult]]) -> list[tuple[str, CheckResult]]:
    """Those that are INVALID or UNKNOWN, INVALID first."""
    bad = [pair for pair in results if pair[1].verdict in (Verdict.INVALID, Verdict.UNKNOWN)]
    return sorted(bad, key=lambda pair: pair[1].verdict is not Verdict.INVALID)


def sentence(runs: Sequence[ScenarioRun], lines: Sequence[Headline]) -> str:
    """The outcome of all runs in one sentence."""
    asked = [(run, line) for run, line in zip(runs, lines, strict=True) if not run.skipped]
    if (skipped := len(runs) - len(asked)) > 0:
        found_in_asked = sentence([run for run, _ in asked], [line for _, line in asked])
        return f"{found_in_asked} {counted(skipped, 'scenario', 'are')} left out; the results say why."
    verdict = overall(runs)
    if not runs:
        return "Nothing was run, so there is no verdict."
    if verdict is Verdict.VALID:
        return _all_valid(runs, lines)
    bad = [run for run in runs if run.verdict is verdict]
    first = bad[0]
    found = worst_first(list(first.results.items()))
    why = f"{found[0][0]}: {found[0][1].summary}{_members(found[0][1])}" if found else ""
    if verdict is Verdict.UNKNOWN and first.error is not None:
        why = first.error
    what = "broke a guarantee" if verdict is Verdict.INVALID else "reached no verdict"
    count = "The scenario" if len(runs) == 1 else f"{len(bad)} of {len(runs)} scenarios"
    return f"{count} {what}. {first.scenario}: {why or 'no checker was run'}"


def _all_valid(runs: Sequence[ScenarioRun], lines: Sequence[Headline]) -> str:
    tasks, faults, kills = (
        sum(getattr(line, name) for line in lines) for name in ("tasks", "faults", "kills")
    )
    lost = [line.lost for line in lines if line.lost is not None]
    illegal = [line.illegal for line in lines if line.illegal is not None]
    found = [
        *(["nothing lost"] if lost and not sum(lost) else []),
        *(["nothing in an illegal state"] if illegal and not sum(illegal) else []),
    ]
    note = verdict_note(runs)
    what = "The scenario holds" if len(runs) == 1 else f"All {len(runs)} scenarios hold"
    return (
        f"{what}: {counted(tasks, 'task')} through {counted(faults, 'fault')}, {counted(kills, 'process')} killed, "
        + (" and ".join(found) or ("every checker VALID" if note is None else "no promise broken"))
        + ("." if note is None else f"; {note}.")
    )


def _members(result: CheckResult) -> str:
    tasks = [str(member["task"]) for member in result.counterexamples if isinstance(member.get("task"), int)]
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return f" (task{'s' if len(tasks) > 1 else ''} {', '.join(tasks[:NAMED])}{more})" if tasks else ""


def _figure(run: ScenarioRun, checker: str, name: str) -> float | None:
    result = run.results.get(checker)
    return None if result is None else result.figure(name)


def _count(run: ScenarioRun, checker: str, name: str) -> int | None:
    found = _figure(run, checker, name)
    return None if found is None else int(found)


def _optional_count(run: ScenarioRun, checker: str, name: str) -> int | None:
    """A figure that a checker of the user's own with this name need not have."""
    result = run.results.get(checker)
    found = None if result is None else result.figures.get(name)
    return None if found is None else int(found)
