"""The processes of a simulated run: pools with their workers, one producer, and a service that calls the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from agentexec.producer.client import use_client
from harness.simulation.context import SimulationContext
from harness.simulation.plan import FaultKind
from harness.simulation.pool import SimulatedPool
from harness.simulation.producer import PlannedSubmissions, SimulatedProducer
from harness.simulation.scheduler import FOREVER, Process
from harness.simulation.service import SimulatedService


class SimulatedSystem:
    """The pools, the producer and the service of one plan. It starts without pools."""

    def __init__(self, context: SimulationContext) -> None:
        self.context = context
        self.pools: list[SimulatedPool] = []
        self.submissions = PlannedSubmissions(context.plan)
        self.producer = SimulatedProducer(context, self.submissions)
        plan = context.plan
        calls = plan.calls or any(fault.kind is FaultKind.FAIL for fault in plan.faults)
        self.service = SimulatedService(context, self.submissions) if calls else None

    @contextmanager
    def served(self) -> Iterator[None]:
        """Let the public API use the client of the service."""
        with use_client(self.service.client) if self.service is not None else nullcontext():
            yield

    def start_pool(self) -> None:
        """Start one more pool, as an operator does."""
        self.pools.append(SimulatedPool(self.context, len(self.pools)))

    def living_pools(self) -> list[SimulatedPool]:
        """The pools whose parent is alive."""
        return [pool for pool in self.pools if not pool.over]

    def orphans(self) -> list[Process]:
        """The workers that live although their parent ended; those of a frozen host may."""
        workers = [worker for pool in self.pools if pool.over for worker in pool.living_workers()]
        return [worker for worker in workers if worker.stalled_until < FOREVER]

    def count_started(self, name: str) -> int:
        """How many processes of this name were started; the replacement of a worker has its name."""
        return sum(process.name == name for process in self.context.runtime.processes)

    def replace_producer(self) -> None:
        """Start another producer after the death of the last one, for the tasks that were never submitted."""
        self.producer = SimulatedProducer(self.context, self.submissions)

    @property
    def all_submitted(self) -> bool:
        """Whether every task was submitted, and no living producer waits for a reply."""
        return not self.submissions.outstanding and not self.producer.waiting
