"""What an endpoint bills during a run: the requests from one moment on, also into a history.

meter  meter           info: endpoint, prices, budget, dropped (records that the meter does not have any more),
                       elsewhere (whether the endpoint is on another machine, with another clock)
       model-request   info: the fields of a `MeteredRequest`; its time is the begin of the request, if that is known
       tool-run        info: the fields of a `ToolRun`
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from harness.errors import HarnessError, UsageError
from harness.history import Operation, OperationType, Recorder
from harness.history.names import METER, MODEL_REQUEST, TOOL_RUN
from harness.llm.budget import Budget
from harness.llm.endpoint_process import EndpointProcess
from harness.llm.meter import MeterRecords
from harness.llm.prices import PriceList
from harness.llm.serving import Endpoint
from harness.masking import masked

_SETTLE_SECONDS = 10.0


class MeterWindow:
    """The requests that an endpoint gets from now on; raises `EnvironmentUnavailable` if it does not answer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.process: EndpointProcess | None = None
        """The process of the endpoint, None if it does not say it."""
        self._begun, self._tool_runs = self._look(0)

    @property
    def elsewhere(self) -> bool:
        """Whether the endpoint is on another machine than this process."""
        return self.process is not None and self.process.has_another_clock

    def records(self, settle: float = _SETTLE_SECONDS) -> MeterRecords:
        """Those so far, after at most `settle` seconds of waiting for running ones.

        `dropped` counts the records that a full memory or a reset of the meter lost.
        """
        last, _ = self._look(settle)
        found = self._endpoint.records(settle=0)
        requests = tuple(each for each in found.requests if self._begun < each.number <= last)
        return MeterRecords(
            requests=requests,
            tool_runs=found.tool_runs[self._tool_runs :],
            dropped=last - self._begun - len(requests),
        )

    def _look(self, settle: float) -> tuple[int, int]:
        found = self._endpoint.meter(settle)
        try:
            self.process = EndpointProcess.of_value(found.get("process"))
            return int(found["begun"]), int(found["tool_runs"])
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{masked(self._endpoint.root)} is no endpoint of this version; start it with `harness llm serve`."
            ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metering:
    """The endpoint whose bill belongs to a run, the price list, and the budget as a text."""

    endpoint: Endpoint
    prices: PriceList | None = None
    budget: str | None = None

    @classmethod
    def of(
        cls, url: str | None, prices: Path | None = None, budget: str | None = None, *, options: str = "--"
    ) -> Self | None:
        """The bill of the endpoint at a URL, None without one; raises `UsageError`.

        `options` is the begin of the names of the options that its sentences name: `--` or `--load-`.
        """
        if url is None:
            for name, given in (("prices", prices), ("budget", budget)):
                if given is not None:
                    raise UsageError(
                        f"{options}{name} needs the endpoint that bills. Give its URL with {options}meter."
                    )
            return None
        listed = None if prices is None else PriceList.read(prices)
        terms = () if budget is None else Budget.parse(budget).terms
        if listed is None and any(term.figure.startswith("money") for term in terms):
            raise UsageError(f"A budget of money needs a price list. Give one with {options}prices.")
        return cls(endpoint=Endpoint.at(url), prices=listed, budget=budget)

    def begin(self) -> MeterWindow:
        """The requests from now on."""
        return MeterWindow(self.endpoint)

    def record(self, window: MeterWindow, folder: Path) -> None:
        """Write what was billed into the folder of a history; raises `HarnessError` if the endpoint does not answer."""
        try:
            records = window.records()
        except HarnessError as error:
            raise HarnessError(f"What the run cost is not known: {error}") from None
        with closing(Recorder(folder / f"{METER}.jsonl", process=METER)) as recorder:
            for operation in self._operations(records, elsewhere=window.elsewhere):
                recorder.append(operation)

    def _operations(self, records: MeterRecords, *, elsewhere: bool) -> Iterator[Operation]:
        now = time.monotonic_ns()
        summary = {
            "endpoint": masked(self.endpoint.root),
            "prices": None if self.prices is None else self.prices.to_value(),
            "budget": self.budget,
            "dropped": records.dropped,
            "elsewhere": elsewhere,
        }
        yield _info(now, METER, summary)
        for request in records.requests:
            yield _info(now if elsewhere else request.started, MODEL_REQUEST, asdict(request))
        for run in records.tool_runs:
            yield _info(now if elsewhere else run.started, TOOL_RUN, asdict(run))


def _info(at: int, f: str, value: dict[str, Any]) -> Operation:
    return Operation(time=at, process=METER, type=OperationType.INFO, f=f, value=value)
