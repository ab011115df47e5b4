"""Claims that a pool hands back for others, over the books in memory, as lua/hand_back.lua does it over Redis."""

from __future__ import annotations

from uuid import UUID

from harness.simulation.queue.books import Books

ALIVE_MS, LONGEST_MS = 30_000, 30_000


def hand_back(
    books: Books, task_id: UUID, known_as: tuple[str, str], *, limit: int, shortest: int, now: int
) -> bool:
    """Give a claim back; False where no other pool has been able to run it for `limit`. Times are milliseconds.

    `known_as` is the name of the task and the fingerprint with which the pool knows it, empty for none.
    """
    name, own = known_as
    first = books.unknown.get(task_id, now)
    others = [at for (theirs, print_), at in books.names.items() if theirs == name and print_ != own]
    last = max(others, default=None)
    counts_from = first if own else max(first, last or 0)
    if own and (last is None or last <= now - limit):
        return False
    if now - counts_from >= limit:
        return False
    alive = last is not None and now - last < ALIVE_MS
    delay = shortest if alive else min(LONGEST_MS, (now - first) // 2)
    books.revoke(task_id)
    books.cancel.discard(task_id)
    books.unknown[task_id] = first
    books.sched.add(task_id, now + max(shortest, delay))
    return True
