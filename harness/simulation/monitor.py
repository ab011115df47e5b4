"""Checks the invariants of the queue's books after every call."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from harness.simulation.queue.books import Books
from harness.simulation.recording import SimulatedRecorder

CHANGING = frozenset(
    {"enqueue", "step", "lock", "release", "renew", "request_cancel", "begin_rebuild", "end_rebuild"}
)
KEPT = 5  # findings; a broken invariant stays broken


class InvariantMonitor:
    """The invariants of the queue's own state, by their names in docs/reference/invariants.md."""

    def __init__(self, recorder: SimulatedRecorder) -> None:
        self._recorder = recorder
        self.findings: list[str] = []

    def check(self, books: Books, call: str) -> None:
        """Check the books after a call that may have changed them."""
        if call in CHANGING and len(self.findings) < KEPT:
            for finding in breaches(books):
                self.findings.append(f"after {call}: {finding}")
                self._recorder.trace_line(None, f"INVARIANT {self.findings[-1]}")


def breaches(books: Books) -> Iterator[str]:
    """The broken invariants, a sentence each.

    I2: every known task is in exactly one place, and the leased tasks are those with a holder. I10: a worker that runs
    a task alone has no other lease. I11: of each partition at most one task is leased.
    """
    held = [*chain(*books.ready, *books.parked.values(), books.alone, books.sched, books.lease, books.dlq)]
    if len(held) != len(books.job) or books.job.keys() != set(held):
        yield f"I2: {len(books.job)} tasks are known, but {len(held)} places hold {len(set(held))} of them"
    if books.holder.keys() != set(books.lease):
        yield f"I2: {len(books.lease)} tasks are leased, but {len(books.holder)} have a holder"
    for worker, step in books.last.items():
        leases = dict(books.held_by(worker))
        if step.reserved in leases and len(leases) > 1:
            yield f"I10: {worker} runs a task alone, and has {len(leases)} leases"
    locked = [books.part[task] for task in books.holder if task in books.part]
    if len(locked) != len(set(locked)):
        yield "I11: two tasks of one lock key are leased at once"
