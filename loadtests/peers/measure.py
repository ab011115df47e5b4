"""Measures one peer once: enqueue, drain, exit, pick-up and recovery, with a database of its own.

No figure counts unless every task that was enqueued began exactly once.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import psutil
import psycopg
import redis
from sqlalchemy.engine import make_url

from harness.environments.base import Endpoints
from harness.environments.urls import plain_url
from harness.errors import TargetFailed
from harness.history.figures import quantile
from loadtests.peers.catalog import SYSTEMS, Peer
from loadtests.peers.costs import CostMeter, spent
from loadtests.peers.processes import Launch, ProducerProcess, WorkerPool, failed

WORKERS = 2
ENQUEUE_SECONDS = 1.0
SAMPLES = 250
# The first ones are not counted.
WARM_UP = 20
SPARSE_SECONDS = 0.02
RECOVERED_WORK, STOPPED_WORK = 1.0, 0.3
_ROOT = Path(__file__).parents[2]

Figures = dict[str, float | None]
"""Figures by name; None for a recovery that did not happen in time."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """When a handler began: the number of its task, and nanoseconds of the monotonic clock."""

    number: int
    at: int

    @classmethod
    def of(cls, text: str) -> Stamp:
        """Read `NUMBER NANOSECONDS`."""
        number, at = text.split()
        return cls(number=int(number), at=int(at))


@dataclass(kw_only=True)
class PeerMeasurement:
    """One round of one peer on running servers, at a tenth of the size if `quick`."""

    peer: Peer
    endpoints: Endpoints
    folder: Path
    quick: bool = False
    recovery_seconds: float = 8.0
    recovers: bool = True
    _next: int = field(default=0, init=False)

    def run(self) -> Figures:
        """All figures; raises `TargetFailed` if the peer loses or doubles a task, or does not do something in time."""
        self._redis.flushall()
        with self._database() as (meter, launch):
            with launch.producer(install=True) as producer:
                figures = self._enqueue(meter, producer)
            # Another producer, so that the counters of Postgres have all that the sessions of the first one did.
            with launch.producer() as producer:
                figures |= self._drain(meter, launch, producer)
                with launch.workers() as pool:
                    figures |= self._pick_up(producer, pool)
                    if self.recovers:
                        figures["recovery"] = self._recovery(launch, producer, pool)
        return figures

    @cached_property
    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.endpoints.redis_url, decode_responses=True)

    @contextmanager
    def _database(self) -> Iterator[tuple[CostMeter, Launch]]:
        name = f"peer_{uuid4().hex[:12]}"
        url = make_url(plain_url(self.endpoints.database_url)).set(database=name)
        own = url.render_as_string(hide_password=False)
        with psycopg.connect(plain_url(self.endpoints.database_url), autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}".encode())
            server.execute("CHECKPOINT")
            try:
                with psycopg.connect(own, autocommit=True) as database:
                    yield self._meter(database), self._launch(own, name)
            finally:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _meter(self, database: psycopg.Connection) -> CostMeter:
        return CostMeter(
            database=database,
            postgres=psutil.Process(database.info.backend_pid).ppid() if self.peer.in_postgres else None,
            redis=int(self._redis.info("server")["process_id"]),
        )

    def _launch(self, database_url: str, queue: str) -> Launch:
        folder = Path(mkdtemp(dir=self.folder, prefix=f"{self.peer.name}-"))
        self._queue, self._closed = queue, folder / "closed"
        python = self.peer.environment.python
        paths = [str(SYSTEMS), *([str(_ROOT)] if not self.peer.requirements else [])]
        variables = {
            "PEER_QUEUE": queue,
            "PEER_VARIANT": self.peer.variant,
            "PEER_REDIS_URL": self.endpoints.redis_url,
            "PEER_DATABASE_URL": database_url,
            "PEER_FOLDER": str(folder),
            "PEER_WORKERS": str(WORKERS),
            "DATABASE_URL": database_url,
            "REDIS_URL": self.endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": queue,
            "PYTHONPATH": os.pathsep.join(paths),
            **self.peer.variables,
        }
        return Launch(
            python=python,
            module=self.peer.module,
            pool=self.peer.command(python),
            pools=self.peer.pools,
            folder=folder,
            variables=variables,
        )

    def _scaled(self, number: int) -> int:
        return max(1, number // 10) if self.quick else number

    def _numbers(self, count: int) -> int:
        """The first of `count` new numbers."""
        self._next += count
        return self._next - count

    def _enqueue(self, meter: CostMeter, producer: ProducerProcess) -> Figures:
        figures: Figures = {}
        tasks = self._scaled(self.peer.tasks)
        for way in producer.ways:
            self._enqueued(producer, way, most=10 if way == "one" else 100)  # a warm-up
        for way in producer.ways:
            before = meter.read(producer=producer.pids)
            most = tasks if way == "batch" else tasks // 2
            count, seconds = self._enqueued(producer, way, most=most, seconds=self._seconds)
            after = meter.read(producer=producer.pids)
            figures[f"enqueue-{way}"] = count / seconds
            figures |= {f"enqueue-{way}.{kind}": cost for kind, cost in spent(before, after, count).items()}
        self._enqueued(producer, producer.ways[-1], most=max(0, tasks - self._next))
        return figures

    @property
    def _seconds(self) -> float:
        return ENQUEUE_SECONDS / 4 if self.quick else ENQUEUE_SECONDS

    def _enqueued(
        self, producer: ProducerProcess, way: str, *, most: int, seconds: float = 1e9
    ) -> tuple[int, float]:
        answer = producer.call("enqueue", way=way, first=self._next, most=most, seconds=seconds)
        self._numbers(answer["count"])
        return answer["count"], answer["seconds"]

    def _drain(self, meter: CostMeter, launch: Launch, producer: ProducerProcess) -> Figures:
        tasks = self._next
        sessions = meter.wait_for_others(0)
        counted = meter.counters()
        self._closed.touch()
        with launch.workers() as pool:
            pool.until(lambda: pool.arrived >= WORKERS, f"{WORKERS} workers did not begin a task")
            before = meter.read(workers=pool.pids)
            began = time.monotonic_ns()
            self._closed.unlink()
            pool.until(lambda: self._begun >= tasks, "not all tasks began")
            pool.until(lambda: self._unfinished(producer) == 0, "not all tasks had a recorded end")
            recorded = time.monotonic_ns()
            after = meter.read(workers=pool.pids)
            stamps = self._all_stamps(range(tasks), pool)
            figures: Figures = {
                "drain": tasks * 1e9 / (max(stamp.at for stamp in stamps) - began),
                "drain-recorded": tasks * 1e9 / (recorded - began),
            }
            figures |= {f"drain.{kind}": cost for kind, cost in spent(before, after, tasks).items()}
            figures["exit"] = self._exit(producer, pool)
        meter.wait_for_others(sessions)
        more = meter.counters()
        return figures | {f"drain.{name}": (more[name] - counted[name]) / self._next for name in more}

    @property
    def _begun(self) -> int:
        return int(self._redis.llen(f"{self._queue}:began"))

    def _unfinished(self, producer: ProducerProcess) -> int:
        return int(producer.call("unfinished")["unfinished"])

    def _stamps(self, what: str = "began") -> list[Stamp]:
        texts: list[str] = self._redis.lrange(f"{self._queue}:{what}", 0, -1)  # type: ignore[assignment]  # not asynchronous
        return [Stamp.of(text) for text in texts]

    def _all_stamps(self, numbers: range, pool: WorkerPool) -> list[Stamp]:
        """The stamps of these tasks; raises `TargetFailed` unless each has exactly one."""
        stamps = [stamp for stamp in self._stamps() if stamp.number in numbers]
        if wrong := uneven(stamps, numbers):
            raise failed(wrong, pool.log)
        return stamps

    def _exit(self, producer: ProducerProcess, pool: WorkerPool) -> float:
        """Seconds from SIGTERM, or from the end of the last task that ended after it, until all processes ended."""
        self._start_work(producer, pool, STOPPED_WORK)
        asked = time.monotonic_ns()
        pool.terminate()
        ended = time.monotonic_ns()
        return (ended - max([asked, *(stamp.at for stamp in self._stamps("ended"))])) / 1e9

    def _start_work(self, producer: ProducerProcess, pool: WorkerPool, work: float) -> range:
        """Enqueue tasks that sleep, and wait until all of them run."""
        first, begun = self._numbers(self.peer.running), self._begun
        producer.call("work", first=first, count=self.peer.running, work=work)
        pool.until(lambda: self._begun >= begun + self.peer.running, "not all sleeping tasks began")
        return range(first, self._next)

    def _pick_up(self, producer: ProducerProcess, pool: WorkerPool) -> Figures:
        figures: Figures = {}
        for name, interval in (("dense", 0.0), ("sparse", SPARSE_SECONDS)):
            count = WARM_UP + self._scaled(SAMPLES)
            first = self._numbers(count)
            calls = producer.call("pick_up", first=first, count=count, interval=interval)["calls"]
            numbers = range(first, self._next)
            pool.until(partial(self._have_begun, numbers), "not all tasks began")
            began = {stamp.number: stamp.at for stamp in self._all_stamps(numbers, pool)}
            for since, index in (("call", 1), ("return", 2)):
                times = [(began[call[0]] - call[index]) / 1e6 for call in calls[WARM_UP:]]
                for percent in (50, 99):
                    figures[f"{name}-{since}-p{percent}"] = quantile(times, percent / 100)
        return figures

    def _have_begun(self, numbers: range) -> bool:
        return sum(stamp.number in numbers for stamp in self._stamps()) >= len(numbers)

    def _recovery(self, launch: Launch, producer: ProducerProcess, pool: WorkerPool) -> float | None:
        """Seconds from SIGKILL of a pool until all of its tasks run again in a new one; None if not in time."""
        numbers = self._start_work(producer, pool, RECOVERED_WORK)
        killed = time.monotonic_ns()
        pool.kill()
        with launch.workers() as second:
            again = partial(self._since, killed, numbers)
            try:
                second.until(
                    lambda: not uneven(again(), numbers), "not all tasks began again", self.recovery_seconds
                )
            except TargetFailed:
                if not second.is_running:
                    raise
                return None
            return (max(stamp.at for stamp in again()) - killed) / 1e9

    def _since(self, moment: int, numbers: range) -> list[Stamp]:
        return [stamp for stamp in self._stamps() if stamp.at > moment and stamp.number in numbers]


def uneven(stamps: list[Stamp], numbers: range) -> str:
    """What is wrong if not each of the tasks has exactly one stamp; empty otherwise."""
    counts = Counter(stamp.number for stamp in stamps)
    lost = sum(number not in counts for number in numbers)
    doubled = sum(count > 1 for count in counts.values())
    return f"{lost} of {len(numbers)} tasks were lost and {doubled} doubled" if lost or doubled else ""
