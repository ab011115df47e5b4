"""The scenarios of `--tag release` against each planted defect: which of them has to be INVALID, and name a task.

`python -m tests.planted --release [NAME ...]` runs them, each with the verdict of a user's run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from chaos import SCENARIOS
from harness.checkers.base import Verdict
from harness.environments.base import Environment
from harness.progress import Quiet
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import ScenarioRun
from tests.planted.defect import CHAOS
from tests.planted.defects import EVERY
from tests.planted.searches import SEED
from tests.planted.target import PlantedTarget, Variation

BEGIN, END = "<!-- the scenarios: made by nox -s planted -- --release -->", "<!-- end of the scenarios -->"
SHOWN = 3  # checkers of a cell


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseRun:
    """The scenario that has to find a defect, with how many tasks."""

    scenario: str
    tasks: int = 120
    variation: Variation = field(default_factory=Variation)


# A shutdown must not count as a crash: with no crash allowed, one that does buries the task.
_NO_CRASH = Variation(environment={"AGENTEXEC_MAX_CRASHES": "0"})

FOUND_BY: Mapping[str, ReleaseRun] = MappingProxyType(
    {
        "destructive-pop": ReleaseRun(scenario="kill-worker-mid-task"),
        "ack-before-run": ReleaseRun(scenario="kill-worker-mid-task"),
        "no-fence-on-finish": ReleaseRun(scenario="pause-worker"),
        "fence-reset": ReleaseRun(scenario="flush-redis"),
        "status-by-wall-clock": ReleaseRun(scenario="pause-worker"),
        "reaper-overwrites-complete": ReleaseRun(scenario="lose-redis-tail"),
        "enqueue-not-idempotent": ReleaseRun(scenario="lose-reply", tasks=240),
        "late-completions-dropped": ReleaseRun(scenario="scale-to-zero"),
        "error-before-retry": ReleaseRun(scenario="vary-tasks"),
        "cancel-overwrites-complete": ReleaseRun(scenario="vary-tasks"),
        "refused-start-runs": ReleaseRun(scenario="vary-tasks"),
        "retry-not-charged": ReleaseRun(scenario="vary-tasks", tasks=240),
        "delay-in-whole-seconds": ReleaseRun(scenario="vary-tasks"),
        "retry-at-once": ReleaseRun(scenario="vary-tasks"),
        "key-forgotten": ReleaseRun(scenario="vary-tasks"),
        "cancel-of-running-ignored": ReleaseRun(scenario="vary-tasks", tasks=240),
        "reconciler-reruns-complete": ReleaseRun(scenario="flush-redis"),
        "cleanup-takes-pending": ReleaseRun(scenario="cleanup-under-load"),
        "startup-cancels-live": ReleaseRun(scenario="startup-cleanup-with-live-pools"),
        "release-burns-a-retry": ReleaseRun(scenario="sigterm-drain", variation=_NO_CRASH),
        "resent-start-counts": ReleaseRun(scenario="lose-reply", tasks=240),
        "dispatched-before-commit": ReleaseRun(scenario="slow-network"),
        "lock-not-on-first-delivery": ReleaseRun(scenario="kill-worker-locked", tasks=240),
        "stop-counts-as-failure": ReleaseRun(scenario="sigterm-drain"),
        "killed-not-replaced": ReleaseRun(scenario="kill-worker-mid-task"),
        "log-of-refused-rows": ReleaseRun(scenario="vary-tasks"),
        "poison-for-ever": ReleaseRun(scenario="poison-task-with-neighbours"),
    }
)

_DELAYS_ARE_OVER = "the delays of `vary-tasks` are over before Redis has its contents again"

NOT_BY: Mapping[str, str] = MappingProxyType(
    {
        **{
            name: defect.blind[CHAOS]
            for name, defect in EVERY.items()
            if CHAOS in defect.blind and name not in FOUND_BY
        },
        "renewal-steals-back": "the record refuses the stale token before the queue gets it",
        "lock-freed-by-non-owner": "the record refuses the late end, so the queue does not get it",
        "refused-result-is-read": "a worker that resumes stops the handlers whose leases it lost, before they return",
        "outbox-waits": "the comparison dispatches these tasks too: they are late, not lost",
        "resend-dispatched-anew": "it leaves dead letters of no task, which `queue` reports and does not judge",
        **dict.fromkeys(
            ("due-time-not-recorded", "rebuilt-without-delay", "delay-rebuilt-as-none"), _DELAYS_ARE_OVER
        ),
        "death-not-released": "`kill-worker-mid-task` took 4.1 s instead of 2 s, not judged on a busy machine",
        "canceled-starts-again": "hardly any worker of `vary-tasks` dies in the half second that a cancel takes",
        "withdrawal-done-when-sent": "Redis is hardly ever emptied in the half second that a cancel takes",
        "back-at-any-priority": "fewer tasks are passed than the checker `priorities` has to allow",
        "revoked-in-two-transactions": "it takes the end of a process between two statements",
    }
)


def run_with(name: str, environment: Environment) -> ScenarioRun:
    """The run of the scenario that has to find a defect, with that defect."""
    chosen = FOUND_BY[name]
    with tempfile.TemporaryDirectory() as history:
        return run_scenario(
            SCENARIOS[chosen.scenario],
            environment,
            PlantedTarget(defect=EVERY[name], variation=chosen.variation),
            RunOptions(seed=SEED, tasks=chosen.tasks, queue=f"planted-{time.monotonic_ns()}"),
            history_folder=Path(history),
            progress=Quiet(),
        )


def row(name: str, run: ScenarioRun) -> str:
    """The row of a defect: its scenario, the verdict, and the first task that each breached checker names."""
    return f"| `{name}` | `{run.scenario}` | {run.verdict}: {named(run) or 'no task is named'} |"


def named(run: ScenarioRun) -> str:
    """The checkers that are INVALID with the first task that each of them names; empty if none names one."""
    found = []
    for checker, result in run.results.items():
        example = next((one for one in result.counterexamples if one.get("task") is not None), None)
        if result.verdict is Verdict.INVALID and example is not None:
            found.append(f"{checker} (task {example['task']} {example['kind']})")
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ", ".join([*found[:SHOWN], *more])


def search(
    names: Collection[str], environment: Environment, report: Callable[[str], None]
) -> tuple[str, list[str]]:
    """The table of these defects, and a sentence for each that its scenario does not find."""
    rows = ["| defect | scenario | verdict |", "|---|---|---|"]
    complaints = []
    for name in EVERY:
        if name not in names:
            continue
        if name in NOT_BY:
            rows.append(f"| `{name}` | none | {NOT_BY[name]} |")
            continue
        run = run_with(name, environment)
        rows.append(row(name, run))
        report(f"{rows[-1]} ({run.seconds:.0f} s)")
        if run.verdict is not Verdict.INVALID or not named(run):
            unsure = (one.summary for one in run.results.values() if one.verdict is Verdict.UNKNOWN)
            why = run.error or next(unsure, "no task is named")
            complaints.append(f"{name} is {run.verdict} by {run.scenario}: {why}")
    return "\n".join(rows), complaints
