"""What faults cost: the steps of activities that were paid more than once, exact against the endpoint's meter.

A request belongs to a step if it names its activity and its step. Of all requests of a step, the last one with a whole
answer is needed: the run without faults pays it too. All others are paid again. Every billed token is in exactly one of
three sums: needed, paid again, or of no step.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from harness.history.faults import FaultWindow
from harness.history.runs import Run
from harness.llm.charging import Charging
from harness.llm.meter import MeteredRequest, MeterRecords, RequestOutcome, ToolRun
from harness.llm.prices import PriceList

CLIENT_LEFT = "client left"
ASKED_AGAIN = "asked again"
"""Causes of what no fault explains: the client disconnected, or it asked for a step that had its answer."""

_Step = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpentTokens:
    """Sums over some requests; `money` is None without a price list."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    tool_calls: int = 0
    money: Decimal | None = None

    @property
    def tokens(self) -> int:
        """All tokens that were billed."""
        return self.prompt_tokens + self.completion_tokens

    def to_value(self) -> dict[str, Any]:
        """The sums for JSON; money is a text, because it is exact."""
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "tool_calls": self.tool_calls,
            "money": None if self.money is None else str(self.money),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCosts:
    """The costs of a run: `total` is the sum of `needed`, `again` and `unlabelled`; `again` is the sum of `by_cause`.

    `running` requests and `dropped` records make the costs incomplete. `tool_runs_again` are runs of the same call of a
    simulated tool after its first one.
    """

    total: SpentTokens
    needed: SpentTokens
    again: SpentTokens
    unlabelled: SpentTokens
    by_cause: Mapping[str, SpentTokens]
    by_activity: Mapping[str, SpentTokens]
    steps: int
    steps_again: int
    tool_runs: int
    tool_runs_again: int
    running: int = 0
    dropped: int = 0
    currency: str = field(default="USD")

    @property
    def share_again(self) -> float:
        """The share of all tokens that was paid again."""
        return self.again.tokens / self.total.tokens if self.total.tokens else 0.0

    def why_inexact(self, *, again: bool) -> str | None:
        """Why a figure is not exact, in one sentence; None if it is. `again` is for what was paid again.

        This is the rule for every threshold and limit: one whose figure is not exact is not measurable. If `total` is
        not exact, a run with a meter is not measurable, unless something is breached.
        """
        return self.incomplete if again else self.unbilled

    @property
    def unbilled(self) -> str | None:
        """Why `total` is not exact, in one sentence; None if it is."""
        if self.running:
            return f"{self.running} requests still run; wait for them and measure again."
        if self.dropped:
            return f"The meter dropped {self.dropped} records; reset it before a run of this size, and not during one."
        return None

    @property
    def incomplete(self) -> str | None:
        """Why what was paid again is not exact, in one sentence; None if it is."""
        if self.unbilled is None and not self.steps:
            return "no request names its activity and step; send X-Activity-Id and X-Activity-Step with each."
        return self.unbilled

    def to_value(self) -> dict[str, Any]:
        """The costs for JSON."""
        return {
            "total": self.total.to_value(),
            "needed": self.needed.to_value(),
            "again": self.again.to_value(),
            "unlabelled": self.unlabelled.to_value(),
            "again_by_cause": {cause: spent.to_value() for cause, spent in self.by_cause.items()},
            "again_by_activity": {name: spent.to_value() for name, spent in self.by_activity.items()},
            "share_again": self.share_again,
            "steps": self.steps,
            "steps_again": self.steps_again,
            "tool_runs": self.tool_runs,
            "tool_runs_again": self.tool_runs_again,
            "running": self.running,
            "dropped": self.dropped,
            "currency": self.currency,
        }


def costs(
    records: MeterRecords,
    prices: PriceList | None = None,
    faults: Sequence[FaultWindow] = (),
    runs: Sequence[Run] = (),
) -> RunCosts:
    """The costs of the requests in a meter's records.

    `faults` and `runs` are those of the run's history (`injected_faults` and `runs`). A step that is paid again is
    charged to the fault that was active between this request and the next one of the step: first the endpoint's own,
    then the last of `faults` that hit the worker of the request, then the last one that hit a server.
    """
    charging = Charging(faults, runs)
    ended = [each for each in records.requests if each.outcome is not RequestOutcome.RUNNING]
    by_step: dict[_Step, list[MeteredRequest]] = defaultdict(list)
    unlabelled = []
    for request in sorted(ended, key=lambda each: each.started):
        if request.activity is None or request.step is None:
            unlabelled.append(request)
        else:
            by_step[request.activity, request.step].append(request)
    needed = {step: _needed(requests) for step, requests in by_step.items()}
    again = list(_again(by_step, needed, charging))
    causes: dict[str, list[MeteredRequest]] = defaultdict(list)
    activities: dict[str, list[MeteredRequest]] = defaultdict(list)
    for cause, request in again:
        causes[cause].append(request)
        activities[str(request.activity)].append(request)
    return RunCosts(
        total=_spent(ended, prices),
        needed=_spent([each for each in needed.values() if each is not None], prices),
        again=_spent([request for _, request in again], prices),
        unlabelled=_spent(unlabelled, prices),
        by_cause={cause: _spent(some, prices) for cause, some in sorted(causes.items())},
        by_activity={name: _spent(some, prices) for name, some in sorted(activities.items())},
        steps=len(by_step),
        steps_again=len({(request.activity, request.step) for _, request in again if request.billed_tokens}),
        tool_runs=len(records.tool_runs),
        tool_runs_again=_runs_again(records.tool_runs),
        running=len(records.requests) - len(ended),
        dropped=records.dropped,
        currency=prices.currency if prices else "USD",
    )


def _needed(requests: Sequence[MeteredRequest]) -> MeteredRequest | None:
    """The last whole answer of a step, one without a fault if there is one; None if the step has no whole answer."""
    whole = [each for each in requests if each.outcome is RequestOutcome.COMPLETE]
    return next(reversed([each for each in whole if each.fault is None] or whole), None)


def _again(
    by_step: Mapping[_Step, Sequence[MeteredRequest]],
    needed: Mapping[_Step, MeteredRequest | None],
    charging: Charging,
) -> Iterator[tuple[str, MeteredRequest]]:
    """Every request that is not needed, with its cause."""
    for step, requests in by_step.items():
        for number, request in enumerate(requests):
            if request is not needed[step]:
                following = requests[number + 1].started if number + 1 < len(requests) else request.ended
                yield _cause(request, following or request.started, charging), request


def _cause(request: MeteredRequest, until: int, charging: Charging) -> str:
    if request.fault is not None:
        return request.fault
    if request.outcome is RequestOutcome.REFUSED:
        return str(request.status)
    if (fault := charging.fault(request.activity, request.started, until)) is not None:
        return fault.name
    return ASKED_AGAIN if request.outcome is RequestOutcome.COMPLETE else CLIENT_LEFT


def _spent(requests: Iterable[MeteredRequest], prices: PriceList | None) -> SpentTokens:
    requests = list(requests)
    return SpentTokens(
        requests=len(requests),
        prompt_tokens=sum(each.prompt_tokens for each in requests),
        cached_tokens=sum(each.cached_tokens for each in requests),
        completion_tokens=sum(each.completion_tokens for each in requests),
        tool_calls=sum(each.tool_calls for each in requests),
        money=None if prices is None else sum((_money(each, prices) for each in requests), Decimal()),
    )


def _money(request: MeteredRequest, prices: PriceList) -> Decimal:
    if not request.billed_tokens:
        return Decimal()
    return prices.money(
        request.model, request.prompt_tokens, request.cached_tokens, request.completion_tokens
    )


def _runs_again(runs: Sequence[ToolRun]) -> int:
    """Runs of a call after its first one; a run that names no call is its own call."""
    calls = Counter((run.activity, run.call) for run in runs if run.call is not None)
    return sum(number - 1 for number in calls.values())
