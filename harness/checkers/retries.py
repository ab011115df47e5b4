"""Do the pauses before retries have the length that the system promises?

Full jitter: the k-th retry of a task waits for a uniform time between 0 and min(cap, base * 2^(k-1)) (Brooker,
"Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation, OperationType
from harness.history.faults import fault_spans
from harness.history.figures import NANOSECONDS, quantile, seconds
from harness.history.machine import bound_lost_to_machine
from harness.history.promises import RetryPauses, promises
from harness.history.runs import Run, runs

_SHORT_SHARE = 0.1
"""A uniform pause is shorter than this share of its bound with this probability; a late begin only lengthens it."""

_RARE = 1e-9
"""So many short pauses as were seen are a breach if chance gives as many with less than this probability."""


class _Retry(NamedTuple):
    """A run that began after another one of its activity failed; `longest` is the bound of the pause in seconds."""

    failed: Operation
    run: Run
    longest: float

    @property
    def pause(self) -> float:
        """Seconds between the failure and the next beginning."""
        return seconds(self.run.begun.time - self.failed.time)


@keeps_settings
def retries(*, late: float | None = None) -> Checker:
    """A task whose handler failed runs again after a pause that grows with its failures, and with nothing else.

    Claims for the k-th failure of an activity, with the promised `retry_pauses` of (base, cap) seconds: the next run
    begins at most min(cap, base * 2^(k-1)) + `late` seconds later, and pauses
    are spread over their bounds: as many below a tenth of it as were seen are not rarer than 1 in 10^9 by chance. A
    pause in which a fault was active is not judged.
    Without `late` it is the promise `steady_within`: a task that is due may wait for a slot. UNKNOWN without these
    promises, if no task failed and ran again, and if only pauses are too long from which this machine took the time.
    """

    def check(history: History) -> CheckResult:
        made = promises(history)
        pauses = None if made is None else made.retry_pauses
        margin = late if late is not None else None if made is None else made.steady_within
        if pauses is None or margin is None:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the pauses before retries are not known")
        found = list(_retries(history, pauses))
        if not found:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no task failed and ran again")
        quiet = [one for one in found if not _disturbed(history, one)]
        slow = [one for one in quiet if one.pause > one.longest + margin]
        excuses = [text for one in slow if (text := _excuse(history, one, margin)) is not None]
        short = [one for one in quiet if one.pause < _SHORT_SHARE * one.longest]
        spread = _at_least(len(short), len(quiet), _SHORT_SHARE) >= _RARE
        examples = [Counterexample(kind="late", task=one.run.task, why=_why(one)) for one in slow]
        if not spread:
            examples += [Counterexample(kind="short", task=one.run.task, why=_why(one)) for one in short]
        longest = max(one.pause for one in found)
        summary = f"{len(found)} retries, after pauses of at most {longest:.3f} s"
        if slow:
            summary = f"{len(slow)} of {len(found)} retries came too late; the first: {_why(slow[0])}"
        if not spread:
            summary += (
                f"; {len(short)} of {len(quiet)} pauses are below a tenth of their bound: they are not spread"
            )
        if excuses:
            summary += f"; {len(excuses)} of them are not judged: {excuses[0]}"
        return CheckResult(
            verdict=Verdict.of(wrong=len(slow) > len(excuses) or not spread, unsure=bool(slow)),
            summary=summary,
            figures={
                "retries": len(found),
                "late": len(slow),
                "short": len(short),
                "pause_p50": quantile((one.pause for one in found), 0.5),
                "pause_max": longest,
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_retries(history: History) -> dict[str, Checker]:
    """The checker, for a history with retries whose target promises their pauses."""
    made = promises(history)
    if made is None or made.retry_pauses is None or made.steady_within is None:
        return {}
    return {"retries": retries()} if any(_retries(history, made.retry_pauses)) else {}


def _retries(history: History, pauses: RetryPauses) -> Iterator[_Retry]:
    """Each run after a failed one; a run that was cut off meanwhile is no retry."""
    failed: dict[str, tuple[int, Operation | None]] = {}
    for run in runs(history):
        times, last = failed.get(run.subject, (0, None))
        if last is not None and last.time <= run.begun.time:
            yield _Retry(last, run, pauses.longest(times))
        ended = run.ended
        if ended is not None and ended.type is OperationType.FAIL:
            failed[run.subject] = (times + 1, ended)
        else:
            failed[run.subject] = (times, None)


def _disturbed(history: History, one: _Retry) -> bool:
    """Whether a fault was active between the failure and the retry."""
    since, until = one.failed.time, one.run.begun.time
    spans: Sequence[tuple[int, int]] = fault_spans(history)
    return any(start <= until and end >= since for start, end in spans)


def _excuse(history: History, one: _Retry, margin: float) -> str | None:
    due = one.failed.time + round(one.longest * NANOSECONDS)
    return bound_lost_to_machine(history, due, one.run.begun.time, bound=margin)


def _at_least(successes: int, trials: int, probability: float) -> float:
    """An upper bound of the probability of at least so many successes in independent trials.

    Chernoff, "A Measure of Asymptotic Efficiency for Tests of a Hypothesis", 1952: exp(-n D(k/n || p)).
    """
    share = successes / trials if trials else 0.0
    if share <= probability:
        return 1.0
    rest = (1 - share) * log((1 - share) / (1 - probability)) if share < 1 else 0.0
    return exp(-trials * (share * log(share / probability) + rest))


def _why(one: _Retry) -> str:
    return f"task {one.run.task} began again {one.pause:.3f} s after it failed, {one.longest:g} s at most were due"
