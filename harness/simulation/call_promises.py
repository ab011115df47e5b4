"""Watches single calls of the queue: those of gone workers, steps that are sent again, and late ends of a rebuild."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from agentexec.queue.protocol import StepResult
from harness.simulation.queue.books import Books
from harness.simulation.queue_order import WATCHED, QueueOrder

KEPT = 5  # findings; a broken promise stays broken


class CallPromises:
    """A gone worker stays refused (I4), a step that is sent again changes nothing (I7), and tasks keep their order.

    Nor does the end of a rebuild that is over end another one (I11): until its own end, no task of a producer may pass
    one that had its lock key before.
    """

    def __init__(self, max_depth: int = 0) -> None:
        """`max_depth` is that of `QueueOrder`."""
        self.findings: list[str] = []
        self._max_depth = max_depth
        self._books: Books | None = None
        self._gone: set[str] = set()
        self._order = QueueOrder(max_depth)
        self._lost: set[UUID] = set()
        self._names: str | None = None

    def before(self, call: str, books: Books, arguments: Sequence[Any]) -> object:
        """What the call must leave as it is, for `after`; None if it may change something."""
        if books is not self._books:  # another server, or one that lost its contents
            self._books, self._gone, self._order = books, set(), QueueOrder(self._max_depth)
        if call == "end_rebuild":
            return None if books.rebuilding == arguments[0] else _contents(books)
        if call in WATCHED:
            self._order.before(books)
        if call == "step":
            self._lost = {f.task_id for f in arguments[0].finishes if not books.holds(f.task_id, f.token)}
        if call == "announce":
            self._names = books.names_changed if arguments[0].items() <= books.names.keys() else None
        last = books.last.get(arguments[0].worker) if call == "step" else None
        return _contents(books) if last is not None and last.nonce == arguments[0].nonce else None

    def after(
        self,
        call: str,
        books: Books,
        before: object,
        arguments: Sequence[Any],
        options: Mapping[str, Any],
        *,
        answer: object = None,
    ) -> None:
        """Judge a call that was carried out."""
        stale = {finish.task_id for finish in answer.stale} if isinstance(answer, StepResult) else None
        if before is None and stale not in (None, self._lost):
            self.found(f"I4: the answer to {arguments[0].worker} names the wrong finishes as stale")
        if before is not None and before != _contents(books):
            what = "the end of another rebuild" if call == "end_rebuild" else "a step that was sent again"
            self.found(f"{'I11' if call == 'end_rebuild' else 'I7'}: {what} changed the queue")
        if before is None and call in WATCHED:
            for finding in self._order.after(call, books, arguments, options):
                self.found(f"order: {finding}")
        if call == "announce" and self._names not in (None, books.names_changed):
            self.found("I7: names that were announced again make every worker read them again")
        if call == "release" and options.get("declare_gone"):
            self._gone.add(arguments[0])
        if call == "step" and arguments[0].worker in self._gone:
            self.found(f"I4: the queue answered {arguments[0].worker}, which was declared gone")
        if call == "register" and arguments[0] in self._gone and arguments[0] in books.workers:
            self.found(f"I4: {arguments[0]} is registered, and was declared gone")

    def found(self, what: str) -> None:
        """Note a broken promise."""
        if len(self.findings) < KEPT:
            self.findings.append(what)


def _contents(books: Books) -> object:
    ordered = [dict(one.scores) for one in (books.sched, books.lease, books.alone, books.dlq)]
    ready = [list(one) for one in books.ready]
    return set(books.job), dict(books.holder), ready, ordered, books.fence, books.epoch, books.rebuilding
