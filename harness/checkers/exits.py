"""Did every pool that was not killed end with exit code 0, or with one that its system promises after SIGTERM?"""

from __future__ import annotations

from collections.abc import Set

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.ending import cut_short, stopped_at
from harness.history.faults import kills
from harness.history.figures import counted, seconds
from harness.history.late_records import LateRecord, late_records
from harness.history.machine import lost_to_machine
from harness.history.names import worker_name
from harness.history.promises import unsurvived_from
from harness.history.workers import (
    PoolExit,
    accepted_codes,
    got_sigterm,
    killed_pools,
    pool_exits,
    stopped_pools,
)

MARGIN_SECONDS = 10.0
"""How much longer than its graceful time-out the harness waits for a pool that it stopped, before it kills it."""


@keeps_settings
def exits() -> Checker:
    """Every pool that ended without a kill ended with exit code 0, or with a promised one (`accepted_codes`).

    This holds for a pool that a fault or the end of the run stopped, and for one that ended by itself. None of its
    workers records anything after that end (`late_records`). A pool that the harness had to kill, since it did not end
    after SIGTERM, is a breach. Pools whose own process a fault killed are not judged, nor are those that ended by
    themselves after a loss that the system does not promise to survive. UNKNOWN if no other pool ended, if all breaches
    came after the run was cut short (`stopped_at`), or if this machine was too slow for the pools that had to be
    killed. Does not claim that a pool ended in time: `shutdown` measures that for pools that a fault stopped.
    """

    def check(history: History) -> CheckResult:
        killed = kills(history)
        ended = pool_exits(history)
        own = [one for one in ended if worker_name(one.pid) not in killed]
        lost = unsurvived_from(history)
        asked = [one for one in own if got_sigterm(history, one) or lost is None or one.time < lost]
        accepted = {one: accepted_codes(history, one) for one in asked}
        bad = [one for one, codes in accepted.items() if one.code not in codes]
        excuses = {one.pid: excuse for one in bad if (excuse := _excuse(history, one)) is not None}
        figures = {"exits": len(ended), "killed": len(ended) - len(own), "bad": len(bad)}
        if not asked:
            summary = "no pool ended without a kill"
            if own:
                summary = f"{counted(len(own), 'pool')} ended after a loss that the system does not promise to survive"
            verdict = Verdict.NOT_ASKED if own else Verdict.UNKNOWN
            return CheckResult(verdict=verdict, summary=summary, figures=figures)
        codes = _or(frozenset().union(*accepted.values()))
        late = [one for pid, one in late_records(history).items() if pid in {each.pid for each in asked}]
        if bad:
            whys = [_why(history, one) for one in bad]
            summary = f"{len(bad)} of {counted(len(asked), 'pool')} did not end with code {codes}; the first: {whys[0]}"
            unjudged = len(excuses) == len(bad)
            return CheckResult(
                verdict=Verdict.UNKNOWN if unjudged else Verdict.INVALID,
                summary=f"{summary}, which is not judged: {excuses[bad[0].pid]}" if unjudged else summary,
                figures=figures,
                counterexamples=tuple(
                    {"kind": "exit", "pool": one.pool, "pid": one.pid, "code": one.code, "why": why}
                    for one, why in zip(bad, whys, strict=True)
                ),
            )
        if late:
            whys = [_why_late(one) for one in late]
            return CheckResult(
                verdict=Verdict.INVALID,
                summary=f"{len(late)} of {counted(len(asked), 'pool')} left a worker behind; the first: {whys[0]}",
                figures=figures,
                counterexamples=tuple(
                    {"kind": "late", "pool": one.exit.pool, "pid": one.exit.pid, "why": why}
                    for one, why in zip(late, whys, strict=True)
                ),
            )
        summary = f"{counted(len(asked), 'pool')} ended with code {codes}, {len(ended) - len(own)} killed"
        return CheckResult(verdict=Verdict.VALID, summary=summary, figures=figures)

    return check


def _or(codes: Set[int]) -> str:
    return " or ".join(map(str, sorted(codes)))


def _why(history: History, one: PoolExit) -> str:
    if one.pid in killed_pools(history) and (stop := stopped_pools(history).get(one.pid)) is not None:
        return f"{one.pool} (pid {one.pid}) did not end within {stop.value.get('seconds')} s of SIGTERM"
    return f"{one.pool} (pid {one.pid}) ended with code {one.code}"


def _why_late(one: LateRecord) -> str:
    late = seconds(one.operation.time - one.exit.time)
    return f"{one.operation.process} recorded {one.operation.f!r} {late:.3f} s after its pool had ended"


def _excuse(history: History, one: PoolExit) -> str | None:
    """Why the exit is not judged: it belongs to the end of a run that was cut short, or the machine was too slow."""
    stopped = stopped_at(history)
    if stopped is not None and one.time >= stopped:
        return cut_short(history)
    kill, stop = killed_pools(history).get(one.pid), stopped_pools(history).get(one.pid)
    if kill is None or stop is None:
        return None
    return lost_to_machine(history, stop.time, kill.time, excess=MARGIN_SECONDS)
