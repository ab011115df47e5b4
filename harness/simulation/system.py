"""The processes of a simulated run: pools with their workers, and one producer."""

from __future__ import annotations

from harness.simulation.context import SimulationContext
from harness.simulation.pool import SimulatedPool
from harness.simulation.producer import PlannedSubmissions, SimulatedProducer


class SimulatedSystem:
    """The pools and the producer of one plan. It starts with a producer and without pools."""

    def __init__(self, context: SimulationContext) -> None:
        self.context = context
        self.pools: list[SimulatedPool] = []
        self.submissions = PlannedSubmissions(context.plan)
        self.producer = SimulatedProducer(context, self.submissions)

    def start_pool(self) -> None:
        """Start one more pool, as an operator does."""
        self.pools.append(SimulatedPool(self.context, len(self.pools)))

    def living_pools(self) -> list[SimulatedPool]:
        """The pools whose parent is alive."""
        return [pool for pool in self.pools if not pool.over]

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
