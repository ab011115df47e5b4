"""The plan of a run: what it offers to its target and how long it takes at least, before anything is started."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from harness.errors import FOREIGN_ERRORS, UsageError, describe_error
from harness.faults.base import Fault
from harness.faults.pausing import PAUSE_MARGIN_SECONDS, PAUSE_SECONDS
from harness.history.promises import Promises, taken_by
from harness.scenario.applicable import for_target
from harness.scenario.scenario import PoolNeeds, Scenario
from harness.scenario.schedule import Schedule
from harness.targets.base import Target, TargetSettings
from harness.targets.promised import everything, promised
from harness.workloads.base import PacedWorkload, Workload
from harness.workloads.generator import times
from harness.workloads.scheduled_tasks import ScheduledTasks

FIXED_SECONDS = 3.0
"""The time of every run besides its tasks: a pool starts and stops, and the evidence is collected."""

MOST_TIMEOUT = 1_000_000
"""The longest time-out of a run, in seconds."""

STALL_SECONDS = 5.0
"""The shortest patience of a drain."""

# How much longer the patience of a drain is than the time after which others take a silent worker's tasks over: as
# long as that time itself, and no longer than this.
_TAKE_OVER_RESERVE_SECONDS = 10.0

# The most tasks that are drawn for a plan; the times of more tasks are in proportion.
_SAMPLE = 1000
# How much longer a proposed time-out is than the plan, so that a busy machine keeps it too.
_RESERVE = 1.25
_RESERVE_SECONDS = 10.0
# The highest utilization of a proposed rate.
_MOST_UTILIZED = 0.9


def require_above_zero(**given: Any) -> None:
    """Raise `UsageError` for an argument that is neither None nor a finite number above 0."""
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < math.inf):
            raise UsageError(f"{name}={value!r} is no number above 0. Give one, or leave it out.")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """A run of a scenario that is not started yet.

    `scenario` has the rate, the time-out and the faults of this run; `left_out` is how many more cannot strike the
    target. `seconds` is how long the run takes at least. `utilization` is the work that arrives, as a share of what the
    slots of one pool can do. `patience` is how many seconds without any change make an unfinished task a stuck one.
    `notes` are sentences for the report.
    """

    scenario: Scenario
    promises: Promises
    seed: int
    tasks: int
    seconds: float
    utilization: float
    patience: float = STALL_SECONDS
    notes: tuple[str, ...] = ()
    left_out: int = 0

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        target: Target,
        *,
        seed: int,
        tasks: int,
        rate: float | None = None,
        timeout: float | None = None,
        patience: float | None = None,
    ) -> Self:
        """Plan a run. `rate` (tasks a second), `timeout` and `patience` (seconds) replace those of the scenario.

        A target that promises fewer slots than the scenario asks for gets a lower rate in proportion, and more time. A
        target that promises a longer recovery than the reference implementation gets the time for it. Faults that
        cannot strike the target are left out.
        Raises `UsageError` if no fault can strike it, if there are too few tasks for the faults, if the workload cannot
        have the rate, or for a rate, a time-out or a patience that is no number above 0.
        """
        require_above_zero(rate=rate, timeout=timeout, patience=patience)
        promises = promises_of(target, scenario.pool)
        faults = len(scenario.faults)
        scenario, note = for_target(scenario, target)
        notes = [] if note is None else [note]
        if rate is not None:
            scenario = _with_rate(scenario, rate)
        elif (share := _slots(scenario.pool, promises) / scenario.pool.slots) < 1:
            scenario, note = _slower(scenario, share)
            notes.append(f"the target promises {_slots(scenario.pool, promises)} slots, {note}")
        needed = patience_of(scenario, promises) if patience is None else patience
        if timeout is not None:
            scenario = replace(scenario, timeout=timeout)
        elif patience is None and (more := _more_time(scenario, needed)) > 0:
            longer = replace(scenario, timeout=scenario.timeout + more)
            notes.append(
                f"the target promises a recovery within {needed:g} s: "
                f"the time-out is {longer.timeout:.4g} instead of {scenario.timeout:.4g} s"
            )
            scenario = longer
        plan = cls._of(scenario, promises, seed=seed, tasks=tasks)
        if plan.utilization > 1:
            notes.append(f"{plan.utilization:.1f} times as much work arrives as the slots of a pool can do")
        left_out = faults - len(scenario.faults)
        return replace(plan, patience=needed, notes=tuple(notes), left_out=left_out)

    @classmethod
    def _of(cls, scenario: Scenario, promises: Promises, *, seed: int, tasks: int) -> Self:
        seconds, utilization = _estimate(scenario, promises, seed=seed, tasks=tasks)
        return cls(
            scenario=scenario,
            promises=promises,
            seed=seed,
            tasks=tasks,
            seconds=seconds,
            utilization=utilization,
        )

    @property
    def has_time(self) -> bool:
        """Whether the run can end within its time-out."""
        return self.seconds <= self.scenario.timeout

    @property
    def enough_seconds(self) -> int:
        """A time-out that is enough, with a reserve for a busy machine."""
        return math.ceil(self.seconds * _RESERVE + _RESERVE_SECONDS)

    @property
    def enough_rate(self) -> int | None:
        """A rate with which the time-out is enough; None if there is none that the slots can keep up with."""
        share, rate = self._share(), _rate(self.scenario)
        if share is None or rate is None:
            return None
        faster = math.ceil(rate * share)
        plan = RunPlan._of(_with_rate(self.scenario, faster), self.promises, seed=self.seed, tasks=self.tasks)
        return faster if plan.has_time and plan.utilization <= _MOST_UTILIZED else None

    @property
    def few_enough_tasks(self) -> int | None:
        """A number of tasks for which the time-out is enough; None if it would be too small for the faults."""
        share = None if isinstance(self.scenario.workload, ScheduledTasks) else self._share()
        fewer = 0 if share is None else int(self.tasks / share)
        try:
            plan = RunPlan._of(self.scenario, self.promises, seed=self.seed, tasks=fewer) if fewer else None
        except UsageError:
            return None
        return fewer if plan is not None and plan.has_time else None

    def _share(self) -> float | None:
        """The time of the tasks as a share of what the time-out leaves for them; None if it leaves nothing."""
        left = self.scenario.timeout / _RESERVE - FIXED_SECONDS
        return (self.seconds - FIXED_SECONDS) / left if left > 0 else None


def require_time(plans: Sequence[RunPlan]) -> None:
    """Raise `UsageError` if a run cannot end within its time-out; the message says which options are needed."""
    late = sorted((plan for plan in plans if not plan.has_time), key=lambda plan: -plan.seconds)
    if not late:
        return
    first = late[0]
    rate = _rate(first.scenario)
    arriving = "" if rate is None else f" at {rate:.4g} a second"
    others = f" ({len(late) - 1} more of the scenarios take too long)" if len(late) > 1 else ""
    seconds = max(plan.enough_seconds for plan in late)
    remedies = [f"--timeout {seconds}"] if seconds <= MOST_TIMEOUT else []
    if len(plans) == 1 and first.enough_rate is not None:
        remedies.append(f"--rate {first.enough_rate}")
    if (fewest := min(plan.few_enough_tasks or 0 for plan in late)) > 0:
        remedies.append(f"--tasks {fewest}")
    proposal = ", or ".join(remedies) or "more time and fewer tasks"
    raise UsageError(
        f"{first.scenario.name} takes at least {first.seconds:.0f} s with {first.tasks} tasks{arriving}, and its "
        f"time-out is {first.scenario.timeout:.4g} s{others}. Give {proposal}."
    )


def _estimate(scenario: Scenario, promises: Promises, *, seed: int, tasks: int) -> tuple[float, float]:
    """How many seconds a run takes at least, and its utilization."""
    # The times of a schedule of its own are in no proportion to the first of them.
    drawn = tasks if isinstance(scenario.workload, ScheduledTasks) else min(tasks, _SAMPLE)
    schedule = Schedule.of(scenario, seed=seed, tasks=drawn)
    factor = tasks / drawn
    work: dict[str | None, float] = defaultdict(float)
    for arrival in (*schedule.arrivals, *schedule.final):
        work[arrival.task.lock] += arrival.task.work * factor
    due = [at * factor for at in times(schedule.arrivals)]
    final = sum(arrival.delay for arrival in schedule.final) * factor
    under_faults = max(due[-1], _end_of_faults(schedule, due, promises))
    slots = _slots(scenario.pool, promises)
    busy = sum(work.values()) / slots
    # Tasks of one lock key run one at a time.
    alone = max((seconds for key, seconds in work.items() if key is not None), default=0.0)
    arriving = due[-1] + final
    return FIXED_SECONDS + max(under_faults + final, busy, alone), busy / arriving if arriving else math.inf


def _end_of_faults(schedule: Schedule, due: list[float], promises: Promises) -> float:
    """When the last fault is healed, if each begins at its time or after the one before it."""
    now = 0.0
    for planned in schedule.faults:
        begins = due[min(len(due) - 1, int(planned.fault.at * len(due)))]
        now = max(now, begins) + _lasts(planned.fault, promises)
    return now


def _lasts(fault: Fault, promises: Promises) -> float:
    """How many seconds a fault lasts at least, by its fields."""
    seconds = getattr(fault, "seconds", 0.0)
    if seconds is None:
        silence = promises.takes_over_after
        seconds = PAUSE_SECONDS if silence is None else silence + PAUSE_MARGIN_SECONDS
    waits = fault.graceful if getattr(fault, "outlive", False) else 0.0  # type: ignore[attr-defined]  # SigtermPool
    return float(seconds + getattr(fault, "beside", 0.0) + waits)


def patience_of(scenario: Scenario, promises: Promises) -> float:
    """Seconds without any change after which an unfinished task of this scenario counts as stuck."""
    silence = scenario.pool.lease if promises.takes_over_after is None else promises.takes_over_after
    taken = (taken_by(fault.kind, getattr(fault, "loss", None)) for fault in scenario.faults)
    recovery = promises.recovery_after(frozenset().union(*taken))
    return max(silence + min(silence, _TAKE_OVER_RESERVE_SECONDS), STALL_SECONDS, recovery)


def _more_time(scenario: Scenario, patience: float) -> float:
    """Seconds that a time-out lacks, which is made for the patience with the reference implementation.

    A recovery counts twice: a task may begin again at its end, and only then does a drain begin to wait for others.
    """
    usual = patience_of(scenario, everything(_settings(scenario.pool)))
    return max(0.0, 2 * (patience - usual))


def _slots(pool: PoolNeeds, promises: Promises) -> int:
    """How many tasks one pool of the target runs at a time."""
    each = pool.concurrency if promises.slots_per_worker is None else promises.slots_per_worker
    return pool.workers * min(pool.concurrency, each)


def _rate(scenario: Scenario) -> float | None:
    return scenario.workload.rate if isinstance(scenario.workload, PacedWorkload) else None


def with_workload(scenario: Scenario, workload: Workload) -> Scenario:
    """The scenario with another workload, at the rate of its own one if both have a rate."""
    rate = _rate(scenario)
    if rate is not None and isinstance(workload, PacedWorkload):
        workload = workload.with_rate(rate)
    return replace(scenario, workload=workload)


def _with_rate(scenario: Scenario, rate: float) -> Scenario:
    workload = scenario.workload
    if not isinstance(workload, PacedWorkload):
        raise UsageError(
            f"The workload {workload.name} of {scenario.name} has no rate that could be changed. "
            "Leave --rate out, or give the workload `rate` and `with_rate`."
        )
    return replace(scenario, workload=workload.with_rate(rate))


def _slower(scenario: Scenario, share: float) -> tuple[Scenario, str]:
    """The scenario with this share of its rate and with more time in proportion; a sentence about it."""
    rate, asked = _rate(scenario), f"and the scenario offers work for {scenario.pool.slots}"
    if rate is None:
        return scenario, f"{asked}; its workload has no rate that could be lowered"
    slower = replace(_with_rate(scenario, rate * share), timeout=scenario.timeout / share)
    return slower, (
        f"{asked}: {rate * share:.4g} instead of {rate:.4g} tasks a second arrive, "
        f"and the time-out is {slower.timeout:.4g} instead of {scenario.timeout:.4g} s"
    )


def promises_of(target: Target, pool: PoolNeeds) -> Promises:
    """What the target promises, before its queue and folders exist; raises `UsageError` if it cannot be read."""
    try:
        return promised(target, _settings(pool))
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"The promises of the target {target.name} cannot be read: {describe_error(error)}. "
            "Correct its method `promises`."
        ) from error


def _settings(pool: PoolNeeds) -> TargetSettings:
    return TargetSettings(
        queue="",
        folder=Path(),
        history=Path(),
        gate_address="",
        workers=pool.workers,
        concurrency=pool.concurrency,
        lease=pool.lease,
        graceful_shutdown=pool.graceful_shutdown,
        versions=pool.versions,
    )
