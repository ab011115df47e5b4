"""The installation that is watched: servers, exporters, pools that come and go, and steady traffic."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis

import agentexec as ax
from agentexec.producer.client import Client
from agentexec.queue.dead_letters import DeadLetters
from harness.environments.embedded import EmbeddedEnvironment
from tests.alerts.monitoring import Prometheus, place_of, running_exporters, running_prometheus
from tests.conftest import Eventually
from tests.support.production import RunningPool, Site, running_pool, served_api
from tests.support.production_tasks import Message

DEATHS = "worker_deaths_total"
WORKERS, SLOTS = 2, 4  # of a pool, of a worker
POOL = {
    "AGENTEXEC_WORKER_CONCURRENCY": str(SLOTS),
    "AGENTEXEC_LEASE_SECONDS": "5",
    "AGENTEXEC_MAX_TASK_RETRIES": "1",
    "AGENTEXEC_RETRY_BASE_SECONDS": "0.1",
}
MAX_MEMORY = 64_000_000  # bytes, of Redis
UNTIL = 60.0  # seconds for what has to become true on a busy machine


@dataclass(kw_only=True)
class Traffic:
    """Tasks that the API records all the time, asked by a thread."""

    api: httpx.Client
    failing: bool = False  # half of the tasks then end with an error
    error: Exception | None = None
    _going: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send tasks until the end of the block."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Send nothing until the end of the block."""
        with self._going:
            yield

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            with self._going:
                try:
                    self._send(*(["fail"] * 2 + ["echo"] * 2 if self.failing else ["echo", "flaky"]))
                except httpx.HTTPError as error:
                    self.error = error
                    return

    def _send(self, *names: str) -> None:
        for name in names:
            task = {"task_name": name, "context": {"text": ""}}
            self.api.post("/api/tasks", json=task).raise_for_status()


@dataclass(kw_only=True)
class Installation:
    """Everything that a case may disturb."""

    servers: EmbeddedEnvironment
    site: Site
    client: Client
    redis: redis.Redis
    prometheus: Prometheus
    traffic: Traffic
    folder: Path
    _open: contextlib.ExitStack
    pools: list[RunningPool] = field(default_factory=list)

    def gate(self, number: int) -> Path:
        """A file; handlers of `held` wait while it exists."""
        return self.folder / f"gate-{number}"

    def dead_letters(self) -> DeadLetters:
        """The dead letters of the queue."""
        return DeadLetters(self.client.queue)

    def start_pool(self) -> RunningPool:
        """One more pool, which is scraped once it is ready."""
        pool = self._open.enter_context(running_pool(self.site, self.folder, POOL, workers=WORKERS))
        self.pools.append(pool)
        self.scrape_pools()
        return pool

    def retire(self, pool: RunningPool) -> None:
        """Scrape a pool no more, and drain it."""
        self.pools.remove(pool)
        self.scrape_pools()
        # A target that does not answer meanwhile would be silent for as long as the scaled rules wait.
        wait_until(lambda: place_of(pool.http) not in self.prometheus.scraped("agentexec"))
        pool.stop()

    def scrape_pools(self) -> None:
        """Let Prometheus scrape the present pools."""
        self.prometheus.scrape("agentexec", [place_of(pool.http) for pool in self.pools])

    def count(self, metric: str) -> float:
        """A metric of the present pools, summed up."""
        return sum(pool.metrics()[metric] for pool in self.pools)

    def kill_worker(self, pool: RunningPool) -> None:
        """SIGKILL one worker of a pool; returns once another one is ready in its place."""
        deaths = self.count(DEATHS)
        pool.workers()[0].kill()
        everything = len(self.pools) * WORKERS
        wait_until(lambda: self.count(DEATHS) > deaths and self.count("active_workers") == everything)

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """No traffic, and no task is ready, leased or scheduled when the block begins."""
        with self.traffic.paused():
            wait_until(self._only_dead_letters)
            yield

    def nothing_ready(self) -> bool:
        """Whether no task waits for a worker."""
        return self.client.queue.depth().ready == 0

    def _only_dead_letters(self) -> bool:
        depth = self.client.queue.depth()
        return depth.known == depth.dead


@contextlib.contextmanager
def watched_installation(folder: Path) -> Iterator[Installation]:
    """Servers, exporters, two pools, an API with traffic, and a Prometheus that scrapes all of them."""
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(EmbeddedEnvironment())
        site = Site.on(servers.endpoints)
        client = stack.enter_context(site.client())
        connection = redis.Redis.from_url(servers.endpoints.redis_url)
        stack.callback(connection.close)
        connection.config_set("maxmemory", MAX_MEMORY)
        api = stack.enter_context(served_api(site, folder, AGENTEXEC_API_RATE_LIMIT="off"))
        prometheus = stack.enter_context(running_prometheus(folder))
        exporters = stack.enter_context(running_exporters(servers.endpoints, folder))
        for job, place in {**exporters, "agentexec-api": place_of(api)}.items():
            prometheus.scrape(job, [place])
        found = Installation(
            servers=servers,
            site=site,
            client=client,
            redis=connection,
            prometheus=prometheus,
            traffic=Traffic(api=api),
            folder=folder,
            _open=stack,
        )
        for _ in range(2):
            found.start_pool()
        wait_until(lambda: list(prometheus.query("up").values()) == [1.0] * 5)
        with found.traffic.running():
            yield found
        if found.traffic.error is not None:
            raise found.traffic.error


def enqueue(client: Client, *names: str, text: str = "") -> None:
    """One task of each name."""
    client.enqueue_many_sync([ax.TaskRequest(task_name=name, context=Message(text=text)) for name in names])


def wait_until(condition: Callable[[], object]) -> None:
    """Poll a condition until it holds."""
    Eventually()(condition, deadline=UNTIL, every=0.1)
