"""What makes each alert fire: a cause on the real installation, and its repair."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from harness.processes import is_alive, send
from tests.alerts.installation import MAX_MEMORY, SLOTS, WORKERS, Installation, enqueue, wait_until
from tests.support.deadlock import make_deadlock

Cause = Callable[[Installation], AbstractContextManager[None]]
_FILLER = b"x" * 1_000_000
MOST_FREEZES = 5
_EXPIRED = "leases_reaped_total{reason=expired}"
_STALE, _LOST = "stale_finishes_total", "leases_lost_total"
_HELD = 'agentexec_task_duration_seconds_count{task_name="held"}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A cause with the alerts that it has to make fire, and `also` those that may fire with them.

    The cause has happened when its block begins, and is repaired at the end of the block.
    """

    alerts: tuple[str, ...]
    also: tuple[str, ...] = ()
    what: str
    cause: Cause


@contextlib.contextmanager
def deadlock(site: Installation) -> Iterator[None]:
    """Two sessions that lock two keys in opposite order."""
    make_deadlock(site.servers.endpoints.database_url)
    yield


@contextlib.contextmanager
def worker_deaths(site: Installation) -> Iterator[None]:
    """Four SIGKILLs, the next one when the pool is whole again."""
    for number in range(4):
        site.kill_worker(site.pools[number % 2])
    yield


def _more(site: Installation, *metrics: str) -> Callable[[], bool]:
    """Whether there are more of these from now on."""
    before = sum(map(site.count, metrics))
    return lambda: sum(map(site.count, metrics)) > before


@contextlib.contextmanager
def stale_finish(site: Installation) -> Iterator[None]:
    """A worker is frozen in its handler for longer than the lease, until the end of such a run is refused.

    The worker may also notice first that the lease is lost: then it stops the handler, and nothing is refused.
    """
    for _ in range(MOST_FREEZES):
        expired = _more(site, _EXPIRED)
        enqueue(site.client, "freeze")
        wait_until(expired)
        noticed = _more(site, _STALE, _LOST)
        for pool in site.pools:
            for worker in pool.workers():
                worker.resume()
        wait_until(noticed)
        if site.count(_STALE):
            break
    yield


@contextlib.contextmanager
def errors(site: Installation) -> Iterator[None]:
    """Half of the tasks fail in each attempt."""
    site.traffic.failing = True
    yield
    site.traffic.failing = False
    with site.idle():
        site.dead_letters().purge_all()


@contextlib.contextmanager
def deep_queue(site: Installation) -> Iterator[None]:
    """Handlers that wait occupy every slot, and 1,100 tasks are behind them."""
    for gate in range(2):
        site.gate(gate).touch()
    # Each worker gets tasks of both gates.
    for _ in range(len(site.pools) * WORKERS * SLOTS // 2):
        for gate in range(2):
            enqueue(site.client, "held", text=str(site.gate(gate)))
    enqueue(site.client, *["echo"] * 1_100)
    yield


@contextlib.contextmanager
def slow_tasks(site: Installation) -> Iterator[None]:
    """The handlers that waited in the case before end, after more than 15 s.

    The first half makes the series of their task name: an increase is seen from the second scrape on.
    """
    half = len(site.pools) * WORKERS * SLOTS / 2
    site.gate(0).unlink()
    wait_until(lambda: sum(site.prometheus.query(_HELD).values()) >= half)
    site.gate(1).unlink()
    wait_until(lambda: sum(site.prometheus.query(_HELD).values()) >= 2 * half)
    yield


@contextlib.contextmanager
def no_pools(site: Installation) -> Iterator[None]:
    """SIGKILL of all pools with their workers."""
    with site.traffic.paused():
        killed = [worker for pool in site.pools for worker in pool.workers()]
        for pool in site.pools:
            pool.process.signal(signal.SIGKILL)
            pool.process.wait()
        send([worker.pid for worker in killed], signal.SIGKILL)
        wait_until(lambda: not any(is_alive(worker.pid) for worker in killed))
        yield
        site.pools.clear()
        for _ in range(2):
            site.start_pool()


@contextlib.contextmanager
def no_redis(site: Installation) -> Iterator[None]:
    """Redis is killed, and tasks are recorded."""
    with site.idle():
        site.servers.kill("redis")
        enqueue(site.client, *["echo"] * 5)
        yield
        site.servers.restart("redis")
        site.redis.config_set("maxmemory", MAX_MEMORY)


@contextlib.contextmanager
def memory(site: Installation) -> Iterator[None]:
    """Other keys fill Redis to 87 % of maxmemory."""
    with _filled(site, 0.87):
        yield


@contextlib.contextmanager
def evictions(site: Installation) -> Iterator[None]:
    """The policy of the production guide's configuration, and more keys than there is memory."""
    with site.idle():
        site.redis.config_set("maxmemory-policy", "allkeys-lru")
        with _filled(site, 1.2):
            yield
        site.redis.config_set("maxmemory-policy", "noeviction")


@contextlib.contextmanager
def _filled(site: Installation, share: float) -> Iterator[None]:
    used: Any = site.redis.info("memory")
    keys = [
        f"filler:{number}" for number in range(int((share * MAX_MEMORY - used["used_memory"]) / len(_FILLER)))
    ]
    for key in keys:
        site.redis.set(key, _FILLER)
    yield
    site.redis.delete(*keys)


CASES = (
    Case(
        alerts=("AgentexecDeadlocks",),
        what="two sessions lock two keys in opposite order",
        cause=deadlock,
    ),
    Case(
        alerts=("AgentexecWorkersDie",),
        what="SIGKILL of four workers, one after another",
        cause=worker_deaths,
    ),
    Case(
        alerts=("AgentexecStaleFinishes",),
        what="SIGSTOP of a worker in its handler for longer than a lease, then SIGCONT",
        cause=stale_finish,
    ),
    Case(
        alerts=("AgentexecErrorRate", "AgentexecDeadLetters"),
        what="half of the tasks fail in each attempt",
        cause=errors,
    ),
    Case(
        alerts=("AgentexecQueueDeep",),
        what="waiting handlers occupy all slots, 1,100 tasks behind them",
        cause=deep_queue,
    ),
    Case(alerts=("AgentexecTasksSlow",), what="these handlers end", cause=slow_tasks),
    Case(
        alerts=("AgentexecTooFewWorkers", "AgentexecNotMeasured"),
        what="SIGKILL of all pools",
        cause=no_pools,
    ),
    Case(
        alerts=("AgentexecOutboxLag", "AgentexecServerDown"),
        also=("AgentexecNotMeasured",),
        what="SIGKILL of Redis, then five tasks are recorded",
        cause=no_redis,
    ),
    Case(alerts=("AgentexecRedisMemory",), what="other keys fill Redis to 87 % of maxmemory", cause=memory),
    Case(
        alerts=("AgentexecRedisEvictions",),
        also=("AgentexecRedisMemory",),
        what="maxmemory-policy allkeys-lru, and keys of 1.2 times maxmemory",
        cause=evictions,
    ),
)
