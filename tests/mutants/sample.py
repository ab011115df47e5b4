"""`python -m tests.mutants.sample`: one mutant of each part of the protocol, each with the means that has to detect it.

The sample is fixed: which mutants CI judges does not depend on the commit or on the day.

Exit codes: 0 if every mutant is detected, 1 otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.mutants.__main__ import Job, detail
from tests.mutants.forks import judge
from tests.mutants.means import CONTRACT, SIMULATION, UNIT
from tests.mutants.mutate import Mutant
from tests.mutants.sources import mutants
from tests.planted.edits import StaleEdit

SCHEDULES = tuple(map(str, range(12)))
QUEUE, STORE = "tests/conformance/test_queue.py::test_", "tests/conformance/test_store.py::test_"
UNITS = "tests/unit/agentexec/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """The first mutant of `where` with this rule and old text, and the tests or schedules that the means has."""

    where: str
    rule: str
    before: str
    means: str
    units: tuple[str, ...]

    def job(self, known: Mapping[tuple[str, str, str], Mutant]) -> Job:
        """What a child is to judge; raises `StaleEdit`."""
        mutant = known.get((self.where, self.rule, self.before))
        if mutant is None:
            raise StaleEdit(f"{self.where} has no mutant {self.rule!r} of {self.before!r}. Adapt the sample.")
        return mutant, self.means, self.units


SAMPLE: Sequence[Sampled] = (
    Sampled(
        where="lua/renew.lua",
        rule="call left out",
        before="redis.call('ZADD', LEASE, deadline, id)",
        means=CONTRACT,
        units=(f"{QUEUE}a_renewal_prolongs_only_a_lease_that_is_still_held[fakeredis]",),
    ),
    Sampled(
        where="agentexec.store.statements:STARTED",
        rule="condition left out",
        before="AND a.cancel_requested_at IS NULL",
        means=CONTRACT,
        units=(f"{STORE}a_running_task_is_flagged_and_not_started_again[sqlite]",),
    ),
    Sampled(
        where="agentexec.queue.redis_queue:RedisQueue.enqueue",
        rule="always",
        before="from_reconciler",
        means=CONTRACT,
        units=(f"{QUEUE}the_depth_cap_refuses_the_tail_of_a_batch_and_keeps_order[fakeredis]",),
    ),
    Sampled(
        where="agentexec.store.refusals:isolated",
        rule="statement left out",
        before="isolated(items[middle:], work, refused)",
        means=UNIT,
        units=(f"{UNITS}store/test_refusals.py",),
    ),
    Sampled(
        where="agentexec.producer.batching:BatchThread.close",
        rule="statement left out",
        before="self._closing = True",
        means=UNIT,
        units=(f"{UNITS}producer/test_batching.py::test_a_closed_thread_takes_no_items",),
    ),
    Sampled(
        where="agentexec.worker.runner:HandlerRunner._result",
        rule="comparison",
        before="is",
        means=SIMULATION,
        units=SCHEDULES,
    ),
    Sampled(
        where="harness.simulation.queue.books:Books.revoke",
        rule="statement left out",
        before="self.lease.remove(task_id)",
        means=SIMULATION,
        units=SCHEDULES,
    ),
)


def main() -> int:
    """Judge the sample; returns the exit code."""
    # Where two mutants of a function are alike, the first.
    known = {(one.where, one.rule, one.before.strip()): one for one in [*mutants()][::-1]}
    missed = 0
    for answer in judge(iter([sampled.job(known) for sampled in SAMPLE]), detail, 2):
        mutant, means, _ = answer.job
        missed += answer.detail is None
        print(f"{mutant.name}: {means}: {answer.detail or 'NOT DETECTED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
