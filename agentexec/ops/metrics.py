"""Prometheus metrics under the names of the production guide.

Needs the extra `metrics`; nothing here is imported where no metrics are asked for. What this process and its
workers counted comes from the tally (`agentexec.counters`); how full the queue is and how far the dispatch lags behind
is asked of the servers while a scrape waits, for at most two seconds. What a silent server would have said is left
out of the answer, so a gauge is never stale.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import text

from agentexec import counters
from agentexec.counters import COUNTERS, Counters, Key
from agentexec.errors import ConfigurationError
from agentexec.ops.health import WITHIN, Checks, TimedCall, said
from agentexec.queue.protocol import QueueDepth
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import reading

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import HistogramMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    counters.QUEUED: ("Tasks recorded by this process and its workers", ("task_name",)),
    counters.COMPLETED: ("Tasks that its workers brought to a terminal status", ("task_name", "status")),
    counters.REDELIVERED: ("Starts of a task that had been started before: retries and recoveries", ()),
    counters.STALE: ("Finishes that were refused because their fencing token was lost", ()),
    counters.LOST: ("Handlers that were stopped because their lease was lost", ()),
    counters.REAPED: ("Leases taken back from a silent or dead worker", ("reason",)),
    counters.WORKER_DEATHS: ("Worker processes that ended without being asked to", ()),
}
# These stand at 0 from the start, so that the first increase is seen as one.
_AT_ZERO: tuple[Key, ...] = (
    (counters.REDELIVERED,),
    (counters.STALE,),
    (counters.LOST,),
    (counters.REAPED, counters.EXPIRED),
    (counters.REAPED, counters.WORKER_DIED),
    (counters.WORKER_DEATHS,),
)
_BOUNDS = (*map(str, counters.BUCKETS), "+Inf")

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def available() -> bool:
    """Whether the metrics library is installed."""
    return find_spec("prometheus_client") is not None


class Collector:
    """Everything agentexec has to say at a scrape; for `render`, or to be registered with an application's registry.

    Counters are those of this process; the gauges of queue and record are those of the whole queue, so take their
    maximum over several processes and not their sum.
    """

    def __init__(
        self,
        checks: Checks,
        queue_name: str,
        *,
        ready_workers: Callable[[], int] | None = None,
        counted: Counters = COUNTERS,
        within: float = WITHIN,
    ) -> None:
        """`ready_workers` belongs to a pool's parent; `within` (seconds) bounds what the servers are waited for.

        Raises `ConfigurationError` where the library is missing.
        """
        if not available():
            raise ConfigurationError(
                "Metrics need prometheus-client; install it with the extra: pip install 'agentexec-harness[metrics]'."
            )
        self._queue = RedisQueue(checks.redis, queue_name)
        self._engine = checks.engine
        self._ready_workers = ready_workers
        self._counted = counted
        self._within = within
        self._depth: TimedCall[QueueDepth] = TimedCall(self._queue.depth)
        self._lag: TimedCall[float] = TimedCall(self._outbox_lag)

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        deadline = time.monotonic() + self._within
        asked = self._depth.ask(), self._lag.ask()
        yield from self._counters()
        if self._ready_workers is not None:
            yield _gauge("active_workers", "Worker processes that take tasks", self._ready_workers())
        depth, lag = _answer(asked[0], deadline), _answer(asked[1], deadline)
        if depth is not None:
            yield _gauge("queue_depth", "Tasks that are ready and wait for a worker", depth.ready)
            yield _gauge(
                "queue_scheduled", "Tasks that wait for their time: delayed ones and retries", depth.scheduled
            )
            yield _gauge(
                "queue_parked", "Tasks that wait behind another one with their lock key", depth.parked
            )
            yield _gauge("leases_held", "Tasks that a worker holds right now", depth.leased)
            yield _gauge("dlq_depth", "Dead letters", depth.dead)
        if lag is not None:
            yield _gauge(
                "outbox_lag_seconds", "Age of the oldest task that is recorded and not dispatched", lag
            )
        yield from _up({"redis": depth is not None, "database": lag is not None})

    def _counters(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        counts = dict.fromkeys(_AT_ZERO, 0.0) | self._counted.counts()
        for counter, (documentation, labels) in _COUNTERS.items():
            family = CounterMetricFamily(f"agentexec_{counter}", documentation, labels=labels)
            for key, amount in sorted(counts.items()):
                if key[0] == counter:
                    family.add_metric(key[1:], amount)
            yield family
        yield _durations(counts)

    def _outbox_lag(self) -> float:
        with self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL statement_timeout = {round(self._within * 1000)}"))
            return reading.outbox_lag(connection, self._queue.name)


def render(collector: Collector) -> bytes:
    """The text that a Prometheus server reads, of the type `CONTENT_TYPE`."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


def _durations(counts: dict[Key, float]) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "agentexec_task_duration_seconds", "How long handlers ran, however they ended", labels=["task_name"]
    )
    for name in sorted(key[1] for key in counts if key[0] == counters.DURATION_SUM):
        in_buckets = (counts.get((counters.DURATION_BUCKET, name, str(i)), 0.0) for i in range(len(_BOUNDS)))
        cumulative = list(zip(_BOUNDS, accumulate(in_buckets), strict=True))
        family.add_metric([name], buckets=cumulative, sum_value=counts[counters.DURATION_SUM, name])
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"agentexec_{name}", documentation, value=value)


def _up(servers: dict[str, bool]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(
        "agentexec_server_up", "Whether a server answered this scrape", labels=["server"]
    )
    for server, answered in servers.items():
        family.add_metric([server], float(answered))
    yield family


def _answer(future: Future[T], deadline: float) -> T | None:
    """What was answered in time; None where nothing was, which `agentexec_server_up` then says."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except Exception as error:  # noqa: BLE001 - server_up tells that it is away; a scrape never fails for it
        _logger.warning("a scrape got no answer of a server (%s)", said(error))
        return None
