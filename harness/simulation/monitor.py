"""Checks the invariants of the queue's books after every call."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from harness.simulation.crash_charges import CrashCharges
from harness.simulation.queue.books import Books
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import VirtualRuntime

CHANGING = frozenset(
    {
        "enqueue",
        "step",
        "lock",
        "hand_back",
        "release",
        "renew",
        "request_cancel",
        "begin_rebuild",
        "end_rebuild",
    }
)
KEPT = 5  # findings; a broken invariant stays broken


class InvariantMonitor:
    """The invariants of the queue's own state, by their names in docs/reference/invariants.md."""

    def __init__(self, recorder: SimulatedRecorder, runtime: VirtualRuntime) -> None:
        self._recorder = recorder
        self._scheduler = runtime.scheduler
        self._charges = CrashCharges(recorder, runtime.processes)
        self.findings: list[str] = []

    def check(self, books: Books, call: str) -> None:
        """Check the books after a call that may have changed them."""
        if call in CHANGING and len(self.findings) < KEPT:
            for finding in (*breaches(books), *self._charges.check(books, self._scheduler.now, call)):
                self.findings.append(f"after {call}: {finding}")
                self._recorder.trace_line(None, f"INVARIANT {self.findings[-1]}")


def breaches(books: Books) -> Iterator[str]:
    """The broken invariants, a sentence each.

    I2: every known task is in exactly one place, and the leased tasks are those with a holder. I10: a worker that runs
    a task alone has no other lease. I11: of each partition at most one task is leased.
    """
    # Sets of dictionaries, of which Python has the hashes: to compute those of all tasks takes longer than the rest.
    ordered = [one.scores for one in (books.alone, books.sched, books.lease, books.dlq)]
    places: list[Collection[UUID]] = [*books.ready, *books.parked.values(), *ordered]
    places_filled, held = sum(map(len, places)), set[UUID]().union(*places)
    if places_filled != len(books.job) or held != set(books.job):
        yield f"I2: {len(books.job)} tasks are known, but {places_filled} places hold {len(held)} of them"
    if set(books.holder) != set(books.lease.scores):
        yield f"I2: {len(books.lease)} tasks are leased, but {len(books.holder)} have a holder"
    for worker, step in books.last.items():
        leases = dict(books.held_by(worker)) if step.reserved is not None else {}
        if step.reserved in leases and len(leases) > 1:
            yield f"I10: {worker} runs a task alone, and has {len(leases)} leases"
    locked = [books.part[task] for task in set(books.part) & set(books.holder)]
    if len(locked) != len(set(locked)):
        yield "I11: two tasks of one lock key are leased at once"
