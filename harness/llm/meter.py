"""The meter of the endpoint: what it bills for, request by request, also if the client is gone."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from harness.errors import UsageError
from harness.llm.answers import Answer

ENDPOINT_KEY = "simulated-key"
"""The API key that the endpoint suggests. Any key that begins with `simulated-` is shown as it is."""

_SHOWN_PREFIX = "simulated-"
_MOST_RECORDS = 1_000_000
_LONGEST_LABEL = 200
_MOST_NAMES = 1_000
_OTHERS = "(others)"


def key_label(key: str) -> str:
    """How the meter names an API key: a digest, because it may be one of a real provider."""
    if key.startswith(_SHOWN_PREFIX):
        return key[:_LONGEST_LABEL]
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


class RequestOutcome(StrEnum):
    """How a request ended. A stream that the endpoint cut is CUT; one that the client left is DISCONNECTED."""

    RUNNING = "running"
    COMPLETE = "complete"
    CUT = "cut"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"


@dataclass(kw_only=True, slots=True)
class MeteredRequest:
    """One request to a model. The tokens are billed; `sent_tokens` of them were written to the connection.

    `prompt_tokens` includes the `cached_tokens`. `fault` is the endpoint's own. `tool_calls` is how many calls the
    answer asks for. Times are CLOCK_MONOTONIC in nanoseconds, as in histories of the same machine.
    """

    number: int
    id: str
    key: str
    api: str
    model: str
    stream: bool
    activity: str | None
    step: str | None
    client_id: str | None
    started: int
    ended: int | None = None
    status: int | None = None
    outcome: RequestOutcome = RequestOutcome.RUNNING
    fault: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    sent_tokens: int = 0
    tool_calls: int = 0

    @property
    def billed_tokens(self) -> int:
        """All tokens that are billed."""
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> Self:
        """A request as `/meter/requests` has it."""
        return cls(**{**value, "outcome": RequestOutcome(value["outcome"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolRun:
    """One run of a simulated tool; `call` is the id of the tool call. `started` is CLOCK_MONOTONIC in nanoseconds."""

    name: str
    call: str | None
    activity: str | None
    step: str | None
    key: str
    started: int

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> Self:
        """A run as `/meter/requests` has it."""
        return cls(**value)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeterRecords:
    """All requests and runs of tools of an endpoint; `dropped` are those beyond its memory."""

    requests: tuple[MeteredRequest, ...]
    tool_runs: tuple[ToolRun, ...]
    dropped: int = 0

    def of_activity(self, activity: str) -> MeterRecords:
        """Those of one activity."""
        requests = tuple(each for each in self.requests if each.activity == activity)
        runs = tuple(each for each in self.tool_runs if each.activity == activity)
        return MeterRecords(requests=requests, tool_runs=runs, dropped=self.dropped)

    @classmethod
    def of_value(cls, value: Any) -> MeterRecords:
        """The records from the JSON of `/meter/requests`; raises `UsageError` for any other."""
        try:
            return cls(
                requests=tuple(map(MeteredRequest.of_value, value["requests"])),
                tool_runs=tuple(map(ToolRun.of_value, value["tool_runs"])),
                dropped=int(value["dropped_records"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"This is no record of an endpoint's meter ({type(error).__name__}: {error}). "
                "Give the URL of the endpoint, or a file that `harness llm serve --meter FILE` wrote."
            ) from None


@dataclass(slots=True)
class MeterTotals:
    """Sums over requests that ended."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    sent_tokens: int = 0
    cut: int = 0
    disconnected: int = 0
    errors: int = 0

    def add(self, record: MeteredRequest) -> None:
        """Count one request."""
        self.requests += 1
        self.prompt_tokens += record.prompt_tokens
        self.cached_tokens += record.cached_tokens
        self.completion_tokens += record.completion_tokens
        self.sent_tokens += record.sent_tokens
        self.cut += record.outcome is RequestOutcome.CUT
        self.disconnected += record.outcome is RequestOutcome.DISCONNECTED
        self.errors += record.outcome is RequestOutcome.REFUSED


@dataclass(slots=True)
class Lateness:
    """How late events were written, in tenths of a millisecond: bounded memory, and exact to that step."""

    _counts: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Count one event; one that took longer than 100 s counts as that."""
        self._counts[min(int(seconds * 10_000), 1_000_000) if seconds > 0 else 0] += 1

    def to_value(self) -> dict[str, float]:
        """The number of events, and quantiles of their lateness in milliseconds."""
        total = self._counts.total()
        found: dict[str, float] = {"events": total}
        ranks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        seen, remaining = 0, dict(ranks)
        for step in sorted(self._counts):
            seen += self._counts[step]
            for name in [name for name, rank in remaining.items() if seen >= rank * total]:
                found[name] = (step + 1) / 10
                del remaining[name]
        return found


@dataclass(slots=True)
class Meter:
    """Every request since the last reset. Requests that run at a reset count after it, whole.

    The memory is bounded: beyond a million records, and a thousand keys or models, only sums are kept.
    """

    ended: list[MeteredRequest] = field(default_factory=list)
    running: dict[int, MeteredRequest] = field(default_factory=dict)
    tool_runs: list[ToolRun] = field(default_factory=list)
    lateness: Lateness = field(default_factory=Lateness)
    totals: MeterTotals = field(default_factory=MeterTotals)
    keys: dict[str, MeterTotals] = field(default_factory=dict)
    models: dict[str, MeterTotals] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    most_records: int = _MOST_RECORDS
    _number: int = 0

    def begin(self, **labels: Any) -> MeteredRequest:
        """A new request, which runs."""
        self._number += 1
        record = MeteredRequest(number=self._number, started=time.monotonic_ns(), **labels)
        self.running[record.number] = record
        return record

    def end(self, record: MeteredRequest, outcome: RequestOutcome, status: int | None = None) -> None:
        """A request has ended; its numbers do not change any more. Only the first call counts."""
        if self.running.pop(record.number, None) is None:
            return
        record.ended, record.outcome = time.monotonic_ns(), outcome
        record.status = record.status if status is None else status
        self.totals.add(record)
        for sums, name in ((self.keys, record.key), (self.models, record.model)):
            known = name in sums or len(sums) < _MOST_NAMES
            sums.setdefault(name if known else _OTHERS, MeterTotals()).add(record)
        if record.fault is not None:
            self.faults[record.fault] += 1
        if len(self.ended) < self.most_records:
            self.ended.append(record)
        else:
            self.dropped += 1

    def tool_run(self, run: ToolRun) -> None:
        """A tool begins to run."""
        if len(self.tool_runs) < self.most_records:
            self.tool_runs.append(run)
        else:
            self.dropped += 1

    def reset(self) -> None:
        """Forget all requests that ended."""
        fresh = Meter(running=self.running, _number=self._number, most_records=self.most_records)
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))

    def to_value(self) -> dict[str, Any]:
        """The sums, as `GET /meter` answers them.

        `begun` is the number of the last request, which no reset changes. `dropped_records` are in the sums and not in
        `/meter/requests`.
        """
        return {
            "begun": self._number,
            "running": len(self.running),
            "totals": asdict(self.totals),
            "keys": {key: asdict(totals) for key, totals in sorted(self.keys.items())},
            "models": {model: asdict(totals) for model, totals in sorted(self.models.items())},
            "faults": dict(sorted(self.faults.items())),
            "tool_runs": len(self.tool_runs),
            "dropped_records": self.dropped,
            "lateness_ms": self.lateness.to_value(),
        }

    def records(self, activity: str | None = None) -> dict[str, Any]:
        """Each request and each run of a tool, of one activity or of all, as `GET /meter/requests` answers them."""
        both: Sequence[Sequence[Any]] = ([*self.ended, *self.running.values()], self.tool_runs)
        chosen = [
            [asdict(each) for each in some if activity is None or each.activity == activity] for some in both
        ]
        return {"requests": chosen[0], "tool_runs": chosen[1], "dropped_records": self.dropped}


def generated(answer: Answer, pieces: int) -> int:
    """The completion tokens of the first pieces of an answer."""
    return sum(piece.tokens for piece in answer.pieces[:pieces])
