"""The server time of a claim in a large queue, compared with a small queue.

Both queues are on one server and are measured in turn, STEP by STEP, so that other load affects them alike. The cost is
the server's own count for the script (`INFO commandstats`), without client and network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from uuid import uuid4

import agentexec as ax
from agentexec.identifiers import new_id
from agentexec.queue.protocol import Claim, Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import encode_payload
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure, until

# Tasks that each STEP claims, and finishes.
CLAIMED = 64
# STEPs of each queue in one measurement.
STEPS = 100
LITTLE = 1_000
QUEUED, PARTITIONS, SCHEDULED = 1_000_000, 10_000, 100_000
# The highest cost relative to a small queue.
BOUND = 1.2
BATCH = 1_000
LONG_DELAY_SECONDS = 86_400.0
PAYLOAD = encode_payload("bench.nothing", {"number": 1})


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """The content of a queue during a measurement; the ready tasks are spread over `partitions` lock keys."""

    ready: int
    partitions: int = 0
    scheduled: int = 0

    def tasks(self) -> Iterator[Dispatch]:
        """All tasks: first the scheduled ones, then those that are ready or parked."""
        for _ in range(self.scheduled):
            yield Dispatch(task_id=new_id(), payload=PAYLOAD, level=1, delay=LONG_DELAY_SECONDS)
        for number in range(self.ready):
            yield self.task(number)

    def task(self, number: int) -> Dispatch:
        """A task without a delay."""
        key = f"lock-{number % self.partitions}" if self.partitions else None
        return Dispatch(task_id=new_id(), payload=PAYLOAD, level=1, lock_key=key)


@dataclass(slots=True)
class Stocked:
    """A queue with constant content: tasks that a STEP claims are replaced before the next STEP."""

    client: ax.Client
    stock: Stock
    worker: str = field(default_factory=lambda: f"bench-{uuid4().hex[:12]}")
    running: tuple[Claim, ...] = ()
    added: int = 0

    @property
    def queue(self) -> RedisQueue:
        """The queue of the client."""
        return self.client.queue

    def fill(self) -> None:
        """Enqueue the stock through the script of producers."""
        epoch = self.queue.begin_rebuild(uuid4().hex)  # lock keys need an epoch
        if epoch is not None:
            self.queue.end_rebuild(epoch)
        tasks = self.stock.tasks()
        while batch := list(islice(tasks, BATCH)):
            self.queue.enqueue(batch)
        self.added = self.stock.ready

    def step(self) -> float:
        """Finish the claims of the last STEP and claim as many; returns server microseconds per task."""
        before = self._spent()
        finishes = [
            Finish(task_id=c.task_id, token=c.token, disposition=Disposition.ACK) for c in self.running
        ]
        answer = self.queue.step(
            StepRequest(worker=self.worker, nonce=uuid4().hex, finishes=finishes, want=CLAIMED)
        )
        cost = (self._spent() - before) / CLAIMED
        self.running = answer.claims
        refill = [self.stock.task(self.added + number) for number in range(CLAIMED)]
        self.added += CLAIMED
        self.queue.enqueue(refill)
        return cost

    def _spent(self) -> float:
        statistics = self.client.redis.info("commandstats").get("cmdstat_evalsha", {})
        return float(statistics.get("usec", 0))


def claims(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Server time of a claim and its finish with a million queued, 10,000 partitions, 100,000 scheduled."""
    queued, partitions = environment.scaled(QUEUED), environment.scaled(PARTITIONS)
    scheduled, little = environment.scaled(SCHEDULED), environment.scaled(LITTLE)
    # Two tasks per partition, so that every finish makes a parked task ready.
    pairs = (
        (f"{queued:,} queued", Stock(ready=queued), Stock(ready=little)),
        (
            f"{partitions:,} partitions",
            Stock(ready=2 * partitions, partitions=partitions),
            Stock(ready=2 * little, partitions=little),
        ),
        (
            f"{scheduled:,} scheduled",
            Stock(ready=little, scheduled=scheduled),
            Stock(ready=little, scheduled=little),
        ),
    )
    return [_beside(environment, repeats, name, much, few) for name, much, few in pairs]


def _beside(environment: BenchEnvironment, repeats: int, name: str, much: Stock, few: Stock) -> BenchResult:
    with _stocked(environment, much) as full, _stocked(environment, few) as small:
        _wait_for_rewrite(full.client)
        _in_turns(full.step, small.step)  # warm-up
        rounds = [_in_turns(full.step, small.step) for _ in range(repeats)]
    costs, costs_of_few = zip(*rounds, strict=True)
    kind = name.split()[-1]
    return BenchResult(
        figure=Figure(name=f"claim with {name}", unit="µs", values=costs, higher_is_better=False),
        floor=Figure(
            name=f"claim with {environment.scaled(LITTLE):,} {kind}",
            unit="µs",
            values=costs_of_few,
            higher_is_better=False,
        ),
        beside=f"that with {environment.scaled(LITTLE):,}",
        wanted=BOUND,
    )


@contextmanager
def _stocked(environment: BenchEnvironment, stock: Stock) -> Iterator[Stocked]:
    with environment.client() as client:
        queue = Stocked(client=client, stock=stock)
        queue.fill()
        yield queue


def _wait_for_rewrite(client: ax.Client) -> None:
    """Wait until the server no longer rewrites its append-only file, which is additional load."""
    until(lambda: not client.redis.info("persistence")["aof_rewrite_in_progress"])


def _in_turns(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Mean cost of both over `STEPS` STEPs in turn; each is first equally often."""
    totals = [0.0, 0.0]
    for number in range(STEPS):
        for which in (0, 1) if number % 2 else (1, 0):
            totals[which] += (first, second)[which]()
    return totals[0] / STEPS, totals[1] / STEPS
