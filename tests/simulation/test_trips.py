"""An empty call makes no round trip, in the simulation as in Redis, so that the same calls can meet faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agentexec.queue.protocol import Dispatch, Queue
from agentexec.queue.redis_queue import RedisQueue
from harness.environments.ports import free_port
from harness.history.figures import NANOSECONDS
from harness.simulation.call_faults import CallFaults, Network
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.redis_server import RedisServer, SimulatedQueue
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Scheduler

Call = Callable[[Queue], object]
TASK = UUID(int=1)
SOMETHING: dict[str, Call] = {
    "enqueue": lambda queue: queue.enqueue([Dispatch(task_id=TASK, payload=b"{}", level=1)]),
    "lock": lambda queue: queue.lock({TASK: (1, "key")}),
    "release": lambda queue: _release(queue, {TASK: 1}),
    "release of all": lambda queue: _release(queue, None),
    "farewell": lambda queue: _release(queue, {}, declare_gone=True),
    "request_cancel": lambda queue: queue.request_cancel([TASK]),
    "known": lambda queue: queue.known([TASK]),
    "leases": lambda queue: queue.leases([TASK]),
    "dead_reasons": lambda queue: queue.dead_reasons([TASK]),
    "wait": lambda queue: queue.wait(0.01),
}
NOTHING: dict[str, Call] = {
    "enqueue": lambda queue: queue.enqueue([]),
    "lock": lambda queue: queue.lock({}),
    "release": lambda queue: _release(queue, {}),
    "request_cancel": lambda queue: queue.request_cancel([]),
    "known": lambda queue: queue.known([]),
    "leases": lambda queue: queue.leases([]),
    "dead_reasons": lambda queue: queue.dead_reasons([]),
    "wait": lambda queue: queue.wait(0),
}


def _release(queue: Queue, leases: dict[UUID, int] | None, *, declare_gone: bool = False) -> object:
    return queue.release("w", leases, declare_gone=declare_gone)


class Away:
    """A queue whose server does not answer; tells apart calls that need the server and calls that do not."""

    def __init__(self, queue: Queue, run: Callable[[Callable[[], None]], None]) -> None:
        self._queue = queue
        self._run = run

    def is_asked(self, call: Call) -> bool:
        """Whether the call needed the server."""
        asked: list[bool] = []

        def work() -> None:
            try:
                call(self._queue)
            except redis.ConnectionError:
                asked.append(True)
            else:
                asked.append(False)

        self._run(work)
        return asked == [True]


@pytest.fixture(params=["redis", "simulated"])
def away(request: pytest.FixtureRequest) -> Iterator[Away]:
    if request.param == "redis":
        with redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as client:
            yield Away(RedisQueue(client, "away"), lambda work: work())
        return
    scheduler = Scheduler(1)
    runtime = VirtualRuntime(scheduler)
    process = runtime.new_process("one")
    server = RedisServer(runtime, lambda books, call: None)
    server.go_away(1000)
    queue = SimulatedQueue(
        server, runtime, SimulatedRecorder(scheduler), process, Network(runtime, process, CallFaults())
    )

    def run(work: Callable[[], None]) -> None:
        scheduler.spawn(process, work)
        scheduler.run(10 * NANOSECONDS)

    yield Away(queue, run)


@pytest.mark.parametrize("call", SOMETHING)
def test_what_asks_for_something_goes_to_the_server(away: Away, call: str) -> None:
    assert away.is_asked(SOMETHING[call])


@pytest.mark.parametrize("call", NOTHING)
def test_what_asks_for_nothing_does_not(away: Away, call: str) -> None:
    assert not away.is_asked(NOTHING[call])
