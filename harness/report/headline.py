"""The few figures that stand in every table, gathered from the checkers' figures and from the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.checkers.base import CheckResult, Verdict
from harness.report.evidence import Evidence
from harness.report.scales import counted
from harness.scenario import ScenarioRun

NAMED = 10  # tasks named in the sentence over all
LOST = ("lost",)
DUPLICATED = ("duplicated", "duplicates")
ILLEGAL = ("illegal", "illegal_transitions")
P50 = ("recovery_p50", "p50", "p50_seconds")
P99 = ("recovery_p99", "p99", "p99_seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One line of the table; None where no checker asked the question. Times are seconds."""

    tasks: int
    faults: int
    kills: int
    lost: int | None
    duplicated: int | None
    illegal: int | None
    recovery_p50: float | None
    recovery_p99: float | None
    seconds: float


def headline(run: ScenarioRun, evidence: Evidence) -> Headline:
    """The line of one run; `kills` counts killed processes, parents of pools included."""
    return Headline(
        tasks=run.tasks,
        faults=sum(not fault.failed for fault in evidence.faults),
        kills=sum(fault.kills for fault in evidence.faults),
        lost=_count(run, LOST),
        duplicated=_count(run, DUPLICATED),
        illegal=_count(run, ILLEGAL),
        recovery_p50=_figure(run, P50),
        recovery_p99=_figure(run, P99),
        seconds=run.seconds,
    )


def overall(runs: Sequence[ScenarioRun]) -> Verdict:
    """The verdict over all runs; UNKNOWN over none."""
    return Verdict.combine(run.verdict for run in runs)


def worst_first(results: Sequence[tuple[str, CheckResult]]) -> list[tuple[str, CheckResult]]:
    """Those that are not VALID, INVALID before UNKNOWN."""
    bad = [pair for pair in results if pair[1].verdict is not Verdict.VALID]
    return sorted(bad, key=lambda pair: pair[1].verdict is not Verdict.INVALID)


def sentence(runs: Sequence[ScenarioRun], lines: Sequence[Headline]) -> str:
    """What the runs came to, in one sentence."""
    verdict = overall(runs)
    if not runs:
        return "Nothing was run, so there is nothing to say about it."
    if verdict is Verdict.VALID:
        return _all_well(runs, lines)
    bad = [run for run in runs if run.verdict is verdict]
    first = bad[0]
    found = worst_first(list(first.results.items()))
    why = f"{found[0][0]}: {found[0][1].summary}{_members(found[0][1])}" if found else ""
    if verdict is Verdict.UNKNOWN and first.error is not None:
        why = first.error
    what = "broke a guarantee" if verdict is Verdict.INVALID else "reached no verdict"
    count = "The scenario" if len(runs) == 1 else f"{len(bad)} of {len(runs)} scenarios"
    return f"{count} {what}. {first.scenario}: {why or 'no checker was run'}"


def _all_well(runs: Sequence[ScenarioRun], lines: Sequence[Headline]) -> str:
    tasks, faults, kills = (
        sum(getattr(line, name) for line in lines) for name in ("tasks", "faults", "kills")
    )
    lost = [line.lost for line in lines if line.lost is not None]
    illegal = [line.illegal for line in lines if line.illegal is not None]
    found = [
        *(["nothing lost"] if lost and not sum(lost) else []),
        *(["nothing in an illegal state"] if illegal and not sum(illegal) else []),
    ]
    what = "The scenario holds" if len(runs) == 1 else f"All {len(runs)} scenarios hold"
    return (
        f"{what}: {counted(tasks, 'task')} through {counted(faults, 'fault')}, {counted(kills, 'process')} killed, "
        + (f"{' and '.join(found)}." if found else "every checker VALID.")
    )


def _members(result: CheckResult) -> str:
    tasks = [str(member["task"]) for member in result.counterexamples if isinstance(member.get("task"), int)]
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return f" (task{'s' if len(tasks) > 1 else ''} {', '.join(tasks[:NAMED])}{more})" if tasks else ""


def _figure(run: ScenarioRun, names: Sequence[str]) -> float | None:
    for name in names:
        for result in run.results.values():
            if name in result.figures:
                return result.figures[name]
    return None


def _count(run: ScenarioRun, names: Sequence[str]) -> int | None:
    found = _figure(run, names)
    return None if found is None else int(found)
