"""Prometheus metrics under the names of the production guide.

Needs the extra `metrics`. Counters are those of this process and its workers (`agentexec.core.counters`). Gauges of the
queue and the outbox are read from the servers during a scrape, in at most two seconds. A server that does not answer
has no gauges in the response, so no gauge is ever stale.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import accumulate
from typing import TypeVar
from uuid import UUID

from agentexec.core import counters
from agentexec.core.counters import COUNTERS, Counters, Key
from agentexec.errors import ConfigurationError
from agentexec.identifiers import new_id
from agentexec.ops.health import Checks, TimedCall
from agentexec.ops.logs import LastingProblem
from agentexec.queue.protocol import QueueDepth
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import reading
from agentexec.text import summary

try:
    from prometheus_client import CollectorRegistry, Metric, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    AVAILABLE = True
except ModuleNotFoundError:  # without the extra, a pool serves health only
    AVAILABLE = False

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Counter: its documentation and label names.
_COUNTERS = {
    counters.QUEUED: ("Tasks recorded by this process and its workers", ("task_name",)),
    counters.COMPLETED: ("Tasks that its workers brought to a terminal status", ("task_name", "status")),
    counters.REDELIVERED: ("Starts of tasks that had been started before: retries and recoveries", ()),
    counters.STALE: ("Finishes refused because the fencing token was lost", ()),
    counters.LOST: ("Handlers stopped because their lease was lost", ()),
    counters.REAPED: ("Leases released because they expired or their worker died", ("reason",)),
    counters.WORKER_DEATHS: ("Worker processes that ended unexpectedly", ()),
}
# Counters whose label values are known start at 0, so that Prometheus sees their first increase.
_AT_ZERO: tuple[Key, ...] = (
    *((counter,) for counter, (_, labels) in _COUNTERS.items() if not labels),
    *((counters.REAPED, reason) for reason in (counters.EXPIRED, counters.WORKER_DIED)),
)
# Field of `QueueDepth`: its gauge and documentation.
_DEPTHS = {
    "ready": ("queue_depth", "Tasks that are ready and wait for a worker"),
    "scheduled": ("queue_scheduled", "Tasks that are due later: delayed ones and retries"),
    "parked": ("queue_parked", "Tasks that wait behind another task with their lock key"),
    "leased": ("leases_held", "Tasks that are leased to a worker"),
    "dead": ("dlq_depth", "Dead letters"),
}
_BOUNDS = (*(str(float(bound)) for bound in counters.BUCKETS), "+Inf")

READ_AGAIN_MS = 60_000  # activities so young are read by the next scrape again

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Collector:
    """All metrics of agentexec, for `render` or for the registry of an application.

    Counters are those of this process. Gauges are those of the whole queue: over several processes, take their
    maximum and not their sum.
    """

    def __init__(self, checks: Checks, queue_name: str, *, counted: Counters = COUNTERS) -> None:
        """Use the servers, the workers and the time limit of `checks`.

        Raises `ConfigurationError` if prometheus-client is missing.
        """
        if not AVAILABLE:
            raise ConfigurationError(
                "Metrics need prometheus-client; install it with the extra: pip install 'agentexec-reference[metrics]'."
            )
        self._queue = RedisQueue(checks.redis, queue_name)
        self._checks = checks
        self._counted = counted
        self._depth: TimedCall[QueueDepth] = TimedCall(self._queue.depth)
        self._dispatched = UUID(int=0)  # an earlier scrape found that everything up to this id is
        self._lag: TimedCall[float] = TimedCall(self._outbox_lag)
        self._problems = {
            server: LastingProblem(_logger, f"{server} answers scrapes again")
            for server in ("Redis", "the database")
        }

    def collect(self) -> Iterator[Metric]:
        """The current metrics."""
        deadline = time.monotonic() + self._checks.within
        calls = self._depth.ask(), self._lag.ask()
        yield from self._counters()
        if self._checks.ready_workers is not None:
            yield _gauge("active_workers", "Worker processes that take tasks", self._checks.ready_workers())
        depth = self._result("Redis", calls[0], deadline)
        lag = self._result("the database", calls[1], deadline)
        if depth is not None:
            for field, (name, documentation) in _DEPTHS.items():
                yield _gauge(name, documentation, getattr(depth, field))
        if lag is not None:
            yield _gauge(
                "outbox_lag_seconds", "Age of the oldest task that is recorded and not dispatched", lag
            )
        up = GaugeMetricFamily(
            "agentexec_server_up", "Whether a server answered this scrape", labels=["server"]
        )
        up.add_metric(["redis"], float(depth is not None))
        up.add_metric(["database"], float(lag is not None))
        yield up

    def _counters(self) -> Iterator[Metric]:
        counts = dict.fromkeys(_AT_ZERO, 0.0) | self._counted.counts()
        for counter, (documentation, labels) in _COUNTERS.items():
            family = CounterMetricFamily(f"agentexec_{counter}", documentation, labels=labels)
            for key, amount in sorted(counts.items()):
                if key[0] == counter:
                    family.add_metric(key[1:], amount)
            yield family
        yield _durations(counts)

    def _result(self, server: str, call: Future[T], deadline: float) -> T | None:
        """The result of a call; None if there is none in time, which `agentexec_server_up` reports."""
        try:
            result = call.result(max(0.0, deadline - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - a scrape never fails because of a server
            self._problems[server].seen(f"{server} did not answer a scrape ({summary(error)})")
            return None
        self._problems[server].seen(None)
        return result

    def _outbox_lag(self) -> float:
        young = UUID(int=new_id().int - (READ_AGAIN_MS << 80))
        with self._checks.engine.connect() as connection:
            lag = reading.outbox_lag(connection, self._queue.name, self._dispatched)
        self._dispatched = self._dispatched if lag else young
        return lag


def render(collector: Collector) -> bytes:
    """The metrics in Prometheus' text format, of the type `CONTENT_TYPE`."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


def _durations(counts: dict[Key, float]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "agentexec_task_duration_seconds", "Duration of handlers, whatever their result", labels=["task_name"]
    )
    for name in sorted(key[1] for key in counts if key[0] == counters.DURATION_SUM):
        in_buckets = (counts.get((counters.DURATION_BUCKET, name, str(i)), 0.0) for i in range(len(_BOUNDS)))
        cumulative = list(zip(_BOUNDS, accumulate(in_buckets), strict=True))
        family.add_metric([name], buckets=cumulative, sum_value=counts[counters.DURATION_SUM, name])
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"agentexec_{name}", documentation, value=value)
