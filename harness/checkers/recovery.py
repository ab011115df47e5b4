"""How long does a task wait after the kill of its worker until another worker begins it again?

The time counts from the moment at which a worker was up to run the task: the harness itself starts the pool that
replaces a killed one, and that start is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.ending import open_end
from harness.history.faults import FaultWindow
from harness.history.figures import NANOSECONDS, QUANTILES, counted, nearest_rank, quantiles, seconds
from harness.history.interruptions import Interruption, interruptions
from harness.history.machine import bound_lost_to_machine
from harness.history.promises import Loss, losses_of, promises, unsurvived_from
from harness.history.resumptions import faults_met, promised_resumptions, resumptions
from harness.history.workers import pool_starts

DEFAULT_P99 = 2.0
"""Seconds, for a history without a promise."""

_OUTAGES = frozenset(
    {
        *(Loss.BROKER_RESTARTED, Loss.BROKER_FROZEN, Loss.BROKER_FULL, Loss.BROKER_BUSY),
        *(Loss.BROKER_READ_ONLY, Loss.BROKER_LOCKED_OUT),
        *(Loss.DATABASE_RESTARTED, Loss.DATABASE_FROZEN, Loss.DATABASE_FULL, Loss.DATABASE_LOCKED),
        Loss.DATABASE_READ_ONLY,
    }
)
"""Losses during which no task can begin; a promised time counts from their heal, as for `resumption`."""

_NOT_SHOWN = "promised and not shown: the history does not say when the run of the task was cut off"


@keeps_settings
def recovery(p99: float | None = None, *, minimum: int = 1, from_last_kill: bool = False) -> Checker:
    """Every task that a kill interrupted begins again, 99 % of them within `p99` seconds.

    Without `p99` the bound of a task is the longest promise for the kill and for what other faults took while the task
    waited, or `DEFAULT_P99` without any promise. Tasks with one bound are judged together. After an outage of a server
    with such a promise, while the task waited, its time counts from the heal.
    The clock starts with the nemesis's `inject` operation, which it records before it sends the signal, or when
    another worker or pool was up if none was then. With `from_last_kill` it starts with the last kill before the task
    began again, if that is later: for runs with so many kills that they hit the replacements too. INVALID if an
    interrupted task never began again and did not end otherwise, or if the p99 (nearest-rank) is above the bound.
    UNKNOWN if fewer than `minimum` runs were interrupted, if the run ended too early to say that a task never began
    again (`open_end`), or if only the tasks that this machine slowed down make the p99 too long
    (`bound_lost_to_machine`). Does not claim that the second run finished: `delivery` does. Quantiles are given over
    all interruptions and by the name of the fault.
    """

    def check(history: History) -> CheckResult:
        found = interruptions(history, from_last_kill=from_last_kill)
        judged = _JudgedWaits(history, found, p99=p99, minimum=max(minimum, 1), from_last_kill=from_last_kill)
        return judged.result()

    return check


@keeps_settings
def resumption() -> Checker:
    """Every task that a fault interrupted without killing its worker begins again within the promised time.

    The time counts from the heal, or from the beginning of a pause that lasted longer than the promise while another
    worker was up (`harness.history.resumptions`). INVALID and UNKNOWN as for `recovery`; UNKNOWN too if the history
    does not show when a run without an outcome was cut off, and its task began again later than promised, or never.
    NOT ASKED if the faults interrupted no run, because then there was nothing to begin again.
    """

    def check(history: History) -> CheckResult:
        found = resumptions(history)
        if not found:
            taken = ", ".join(sorted(promised_resumptions(history))) or "the faults"
            summary = f"{taken} interrupted no run, so no task had to begin again"
            return CheckResult(
                verdict=Verdict.NOT_ASKED,
                summary=summary,
                figures=_figures([], [], [], 0.0) | {"bound": None},
            )
        return _JudgedWaits(history, found).result()

    return check


def never_began_again(history: History) -> Set[int]:
    """Tasks that a kill interrupted and that had to begin again, as promised, before the first unsurvived loss."""
    lost = unsurvived_from(history)
    if lost is None:
        return frozenset()
    stuck = [one for one in interruptions(history) if one.is_stuck and _promised(history, one)]
    return {
        one.task
        for one in (_from_the_heal(history, one, lost) for one in stuck)
        if _had_to_begin(history, one, _bound(history, one, lost), lost)
    }


class _JudgedWaits:
    """The interruptions of a history, beside their bounds."""

    def __init__(
        self,
        history: History,
        found: Sequence[Interruption],
        *,
        p99: float | None = None,
        minimum: int = 1,
        from_last_kill: bool = False,
    ) -> None:
        self._history = history
        self._from_last_kill = from_last_kill
        made = promises(history)
        self._lost = unsurvived_from(history, also=() if made is None else made.recovers_within.keys())
        self._unattended = max((one.unattended for one in found if _promised(history, one)), default=None)
        found = [one for one in found if _promised(history, one)]
        if p99 is None:
            found = [_from_the_heal(history, one, self._lost) for one in found]
        self._bounds = {id(one): _bound(history, one, self._lost) if p99 is None else p99 for one in found}
        self._all = found
        self._found = [one for one in found if self._is_decided(one)]
        self._too_few = len(self._found) < minimum
        self._stuck = [one for one in self._found if one.is_stuck]
        self._slow = [
            one for one in self._found if one.waited is not None and one.waited > self._bounds[id(one)]
        ]
        shown = [self._bounds[id(one)] for one in (self._slow[:1] or self._found)]
        self._bound = max(shown, default=DEFAULT_P99 if p99 is None else p99)

    def result(self) -> CheckResult:
        """The verdict; NOT ASKED if a loss that the system does not survive leaves nothing to judge."""
        found, stuck, slow, bound = self._found, self._stuck, self._slow, self._bound
        waits = sorted(one.waited for one in found if one.waited is not None)
        excuses = {id(one): text for one in slow if (text := self._excuse(one)) is not None}
        certain = [one for one in stuck if one.certain]
        why = open_end(self._history) if stuck else None
        bad = (bool(certain) and why is None) or self._exceeds(excuses)
        doubts = [f"those are not judged: {why or _NOT_SHOWN}"] if stuck and (why or not certain) else []
        if excuses and self._exceeds():
            doubts.append(f"the bound of {bound:g} s is not judged: {next(iter(excuses.values()))}")
        verdict = Verdict.of(wrong=bad, unsure=bool(doubts) or self._too_few)
        if verdict is Verdict.UNKNOWN and not doubts and self._lost is not None:
            verdict = Verdict.NOT_ASKED
        figures = _figures(found, waits, stuck, bound) | {"from_last_kill": int(self._from_last_kill)}
        return CheckResult(
            verdict=verdict,
            summary="; ".join([_summary(found, waits, stuck, bound), *([] if bad else doubts)]),
            figures=figures | _starts(self._history, self._unattended),
            counterexamples=explain(
                self._history, _examples(stuck, slow, self._bounds, self._from_last_kill)
            ),
        )

    def _is_decided(self, one: Interruption) -> bool:
        """Whether the task began again, or should have, before a loss that the system does not promise to survive."""
        if self._lost is None or (one.again is not None and one.again.begun.time < self._lost):
            return True
        return _had_to_begin(self._history, one, self._bounds[id(one)], self._lost)

    def _exceeds(self, excused: Container[int] = ()) -> bool:
        """Whether the p99 of the tasks with one bound is above it; a wait that is not judged counts as 0."""
        decided = {id(one) for one in self._found}
        by_bound: dict[float, list[float]] = {}
        for one in self._all:
            if one.waited is not None or id(one) not in decided:
                counts = id(one) in decided and id(one) not in excused and one.waited is not None
                by_bound.setdefault(self._bounds[id(one)], []).append(one.waited or 0.0 if counts else 0.0)
        return any(nearest_rank(sorted(waits), QUANTILES["p99"]) > bound for bound, waits in by_bound.items())

    def _excuse(self, one: Interruption) -> str | None:
        if one.again is None or one.waited is None:
            return None
        if not one.certain:
            return _NOT_SHOWN
        return bound_lost_to_machine(
            self._history, one.since, one.again.begun.time, bound=self._bounds[id(one)]
        )


def _starts(history: History, unattended: float | None) -> dict[str, float | int | None]:
    """How long the harness's own starts of pools took, and how long no worker was up after a kill."""
    times = [start.took for start in pool_starts(history) if start.took is not None]
    return {"pool_start_max": max(times, default=None), "unattended_max": unattended}


def _had_to_begin(history: History, one: Interruption, bound: float, lost: int) -> bool:
    """Whether the task had to begin again before `lost`, the time of an unsurvived loss, also on this machine."""
    if one.since + round(bound * NANOSECONDS) >= lost:
        return False
    return not one.is_stuck or bound_lost_to_machine(history, one.since, lost, bound=bound) is None


def _met(history: History, one: Interruption, lost: int | None) -> Sequence[FaultWindow]:
    """The fault, and the others while the task waited: until it began again, or until the time of a loss."""
    if one.again is not None:
        return faults_met(history, one.fault, one.again.begun.time)
    return faults_met(history, one.fault, one.fault.start if lost is None else lost - 1)


def _from_the_heal(history: History, one: Interruption, lost: int | None) -> Interruption:
    """The interruption, counted from the heal of the last outage with a promise while the task waited."""
    made = promises(history)
    if made is None:
        return one
    outages = [
        met.end
        for met in _met(history, one, lost)
        if met.end is not None and losses_of(met) & _OUTAGES & made.recovers_within.keys()
    ]
    last = lost if one.again is None else one.again.begun.time
    since = max((end for end in outages if last is None or end <= last), default=0)
    if since <= one.since:
        return one
    waited = None if one.again is None else seconds(one.again.begun.time - since)
    return replace(one, since=since, waited=waited, healed=True)


def _bound(history: History, one: Interruption, lost: int | None) -> float:
    """The longest promise for the kill, and for the faults that were injected or not healed while the task waited."""
    made = promises(history)
    if made is None or not made.recovers_within:
        return DEFAULT_P99
    taken = frozenset().union(*map(losses_of, _met(history, one, lost)))
    return max((time for loss, time in made.recovers_within.items() if loss in taken), default=DEFAULT_P99)


def _promised(history: History, one: Interruption) -> bool:
    """Whether the system promises a recovery time for what the fault took; True if it promises none at all."""
    made = promises(history)
    if made is None or not made.recovers_within:
        return True
    taken = losses_of(one.fault)
    return (taken & {Loss.WORKER_KILLED, Loss.POOL_KILLED} or taken) <= made.recovers_within.keys()


def _clock(one: Interruption) -> str:
    return " from the heal on" if one.healed else " from the first worker on" if one.unattended else ""


def _figures(
    found: Sequence[Interruption], waits: list[float], stuck: list[Interruption], bound: float
) -> dict[str, float | int | None]:
    counts = {"interrupted": len(found), "resumed": len(waits), "stuck": len(stuck)}
    by_fault: dict[str, list[float]] = {one.fault.name: [] for one in found}
    for one in found:
        if one.waited is not None:
            by_fault[one.fault.name].append(one.waited)
    each = {
        f"{fault}_{name}": value
        for fault, times in by_fault.items()
        for name, value in quantiles(times).items()
    }
    return {**counts, **quantiles(waits), "bound": bound, **each}


def _summary(
    found: Sequence[Interruption], waits: list[float], stuck: list[Interruption], bound: float
) -> str:
    if not found:
        return "the faults interrupted nothing"
    if not waits:
        return f"{counted(len(found), 'run')} interrupted, none began again"
    p99, longest = nearest_rank(waits, QUANTILES["p99"]), waits[-1]
    text = (
        f"{counted(len(found), 'run')} interrupted, recovery p99 {p99:.3f} s (bound {bound:g} s), "
        f"longest {longest:.3f} s"
    )
    return f"{text}; {len(stuck)} never began again" if stuck else text


def _examples(
    stuck: list[Interruption], slow: list[Interruption], bounds: Mapping[int, float], from_last_kill: bool
) -> Iterator[Counterexample]:
    last = " from the last kill on" if from_last_kill else ""
    for one in stuck:
        why = f"interrupted in {one.worker} by {one.fault.label} and never begun again"
        yield Counterexample(kind="stuck", task=one.task, why=why)
    for one in slow:
        clock = last or _clock(one)
        waited = f"begun again after {one.waited:.3f} s{clock} (bound {bounds[id(one)]:g} s)"
        why = f"interrupted in {one.worker} by {one.fault.label}, {waited}"
        yield Counterexample(kind="slow", task=one.task, why=why, more={"seconds": one.waited})
