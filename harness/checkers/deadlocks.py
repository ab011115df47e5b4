"""Did statements of the system wait for each other in the database?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import DEADLOCKS, History
from harness.history.fields import whole


@keeps_settings
def deadlocks() -> Checker:
    """The database ended no statement because of a deadlock during the run.

    Each deadlock costs its sessions the `deadlock_timeout` of the server, 1 s by default, and one of them its
    transaction. The runner records their number from the server's log, or from its statistics where the log cannot be
    read. UNKNOWN if neither could be read. Does not claim that the statements belong to the system under test: the
    counterexamples name them, if the log does.
    """

    def check(history: History) -> CheckResult:
        reports = list(history.where(DEADLOCKS))
        unread = [report for report in reports if report.value.get("count") is None]
        count = sum(whole(report, "count") for report in reports if report not in unread)
        sources = sorted({str(report.value.get("source")) for report in reports})
        word = "deadlock" if count == 1 else "deadlocks"
        summary = f"{count or 'no'} {word} in the database, by its {' and '.join(sources)}"
        if unread and not count:
            summary = f"deadlocks are not known: {unread[0].value.get('why')}"
        if not reports:
            summary = "the history does not say how many deadlocks the database had"
        return CheckResult(
            verdict=Verdict.of(wrong=count > 0, unsure=bool(unread) or not reports),
            summary=summary,
            figures={"deadlocks": count if count or (reports and not unread) else None},
            counterexamples=tuple(
                {"kind": "deadlock", "why": detail}
                for report in reports
                for detail in report.value.get("details", ())
            ),
        )

    return check


def recorded_deadlocks(history: History) -> dict[str, Checker]:
    """The checker, for a history that says how many there were; older ones do not."""
    return {"deadlocks": deadlocks()} if next(history.where(DEADLOCKS), None) is not None else {}
