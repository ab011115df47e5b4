"""What the faults of a run cost, by its history alone, and the checker of its budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.faults import injected_faults
from harness.history.names import METER, MODEL_REQUEST, TOOL_RUN
from harness.history.runs import runs
from harness.llm.budget import Budget
from harness.llm.costs import RunCosts, costs
from harness.llm.meter import MeteredRequest, MeterRecords, ToolRun
from harness.llm.prices import PriceList

# The most activities that the counterexamples of a budget name.
_NAMED = 20
_ELSEWHERE = "; the endpoint is on another machine, so nothing is charged to a fault of the run"


def recorded_costs(history: History) -> RunCosts | None:
    """The costs of the run of a history, None if it has no bill; raises `ValueError` if that cannot be read."""
    return history.derive(_costs)


def costs_checker() -> Checker:
    """The run met its budget. Without a budget it is NOT ASKED, and the costs are shown.

    UNKNOWN if what was billed is not exact, or what was paid again and a limit asks for it, unless a limit is exceeded
    already. With an endpoint on another machine, nothing is charged to the faults of the run.
    """

    def check(history: History) -> CheckResult:
        found, budget = recorded_costs(history), _budget(history)
        if found is None:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the history has no bill of an endpoint")
        return CheckResult(
            verdict=_verdict(found, budget),
            summary=_summary(found, budget) + (_ELSEWHERE if _elsewhere(history) else ""),
            figures=dict(_figures(found)),
            counterexamples=tuple(_counterexamples(found, budget)),
        )

    return check


def recorded_budget(history: History) -> dict[str, Checker]:
    """The checker, for a history that has a bill."""
    return {"costs": costs_checker()} if next(history.where(METER), None) is not None else {}


def recorded_bill(history: History) -> MeterRecords | None:
    """What an endpoint billed, None if the history does not say it; raises `ValueError` if that cannot be read."""
    summary = next(history.where(METER), None)
    if summary is None:
        return None
    try:
        return MeterRecords(
            requests=tuple(MeteredRequest.of_value(op.value) for op in history.where(MODEL_REQUEST)),
            tool_runs=tuple(ToolRun.of_value(op.value) for op in history.where(TOOL_RUN)),
            dropped=int(summary.value["dropped"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"an operation of the meter cannot be read ({error})") from None


def recorded_prices(history: History) -> PriceList | None:
    """The price list of the bill of a history, None if it has none; raises `UsageError` if that cannot be read."""
    found = next((op.value.get("prices") for op in history.where(METER)), None)
    return None if found is None else PriceList.of_value(found)


def _costs(history: History) -> RunCosts | None:
    records = recorded_bill(history)
    if records is None:
        return None
    if _elsewhere(history):  # its clock is another one
        return costs(records, recorded_prices(history))
    return costs(records, recorded_prices(history), injected_faults(history), runs(history))


def _elsewhere(history: History) -> bool:
    return any(op.value.get("elsewhere") for op in history.where(METER))


def _budget(history: History) -> Budget | None:
    text = next((op.value.get("budget") for op in history.where(METER)), None)
    return None if text is None else Budget.parse(str(text))


def _verdict(found: RunCosts, budget: Budget | None) -> Verdict:
    met = None if budget is None else budget.met(found)
    if met is False:
        return Verdict.INVALID
    if found.unbilled is not None:
        return Verdict.UNKNOWN
    if budget is None:
        return Verdict.NOT_ASKED
    return Verdict.UNKNOWN if met is None else Verdict.VALID


def _summary(found: RunCosts, budget: Budget | None) -> str:
    terms = () if budget is None else budget.terms
    exceeded = [
        f"{term.text} is exceeded: {term.measured(found):.6g}" for term in terms if term.met(found) is False
    ]
    unmeasured = [f"{term.text} needs a price list" for term in terms if term.measured(found) is None]
    if exceeded or found.incomplete or unmeasured:
        gap = [] if found.incomplete is None else [found.incomplete.rstrip(".")]
        return "; ".join([*exceeded, *gap, *unmeasured])
    money = "" if found.total.money is None else f", {found.total.money:.6f} {found.currency}"
    again = "" if found.again.money is None else f", {found.again.money:.6f} {found.currency}"
    causes = ", ".join(f"{cause} {spent.tokens:,}" for cause, spent in found.by_cause.items())
    return (
        f"{found.total.tokens:,} tokens billed{money}; "
        f"{found.again.tokens:,} of them again ({found.share_again:.1%}{again})"
        + (f": {causes}" if causes else "")
        + f"; {found.tool_runs_again} tool runs repeated"
    )


def _figures(found: RunCosts) -> Iterator[tuple[str, float | int | None]]:
    for name, spent in (("", found.total), ("_again", found.again)):
        yield f"tokens{name}", spent.tokens
        yield f"requests{name}", spent.requests
        yield f"money{name}", None if spent.money is None else float(spent.money)
    yield from (
        ("share_again", found.share_again),
        ("steps", found.steps),
        ("steps_again", found.steps_again),
    )
    yield from (("tool_runs", found.tool_runs), ("tool_runs_again", found.tool_runs_again))
    for cause, spent in found.by_cause.items():
        yield f"tokens_again_by_{cause}", spent.tokens


def _counterexamples(found: RunCosts, budget: Budget | None) -> Iterator[Mapping[str, Any]]:
    """Each exceeded limit, what each cause cost, and the activities that cost most."""
    if budget is None or budget.met(found) is not False:
        return
    for term in budget.terms:
        if term.met(found) is False:
            yield {"kind": "exceeded", "why": f"{term.text}: it was {term.measured(found):.6g}"}
    for cause, spent in found.by_cause.items():
        yield {"kind": "paid again", "cause": cause, **spent.to_value()}
    most = sorted(found.by_activity.items(), key=lambda pair: -pair[1].tokens)
    for activity, spent in most[:_NAMED]:
        yield {"kind": "paid again", "activity": activity, **spent.to_value()}
