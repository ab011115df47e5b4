"""Safety of a load on servers that others use: the preflight with a canary, and the brake on the depth of queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select

import agentexec as ax
from agentexec.activity import Activity, Status
from harness.errors import TargetFailed
from harness.load.producing import EXPECTED

CANARY_SECONDS = 10.0
DEPTH = 20_000
_POLL_SECONDS = 0.05
_BRAKE_SECONDS = 1.0


def require_workers(clients: Mapping[str, ax.Client]) -> None:
    """Raise `TargetFailed` for a queue that no worker serves: its name is wrong, or its pool does not run."""
    for queue, client in clients.items():
        if not client.queue.registered():
            raise TargetFailed(
                f"No worker serves the queue {queue!r}; start its pool, or correct the name of the queue."
            )


def await_canaries(client: ax.Client, canaries: Mapping[UUID, str], *, within: float) -> None:
    """Wait until one task of each name, given by its activity, is COMPLETE; raises `TargetFailed` with all others."""
    deadline = time.monotonic() + within
    while True:
        statuses = _statuses(client, list(canaries))
        unfinished = {i: statuses.get(i) for i in canaries if statuses.get(i) is not Status.COMPLETE}
        pending = any(status is None or not status.terminal for status in unfinished.values())
        if not unfinished:
            return
        if not pending or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    found = ", ".join(f"{canaries[i]!r} is {status or 'absent'}" for i, status in unfinished.items())
    raise TargetFailed(
        f"The first task of each name must complete within {within:g} s, and {found}. Look at the log of the pool; "
        "--load-canary 0 starts the load without this check."
    )


def _statuses(client: ax.Client, ids: Sequence[UUID]) -> dict[UUID, Status]:
    with client.engine.connect() as connection:
        rows = connection.execute(select(Activity.id, Activity.status).where(Activity.id.in_(ids)))
        return {row[0]: row[1] for row in rows}


class Brake:
    """Ends a load whose queues get too deep; `stop` is called once, with a sentence.

    `note` gets the tasks that wait and those in flight, every second, of all queues together.
    """

    def __init__(
        self,
        clients: Mapping[str, ax.Client],
        deepest: int,
        stop: Callable[[str], None],
        note: Callable[[int, int], None],
    ) -> None:
        self._clients = clients
        self._deepest = deepest
        self._stop = stop
        self._note = note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load-brake", daemon=True)

    def start(self) -> None:
        """Begin to watch the queues."""
        self._thread.start()

    def end(self) -> None:
        """Stop watching; returns when the queues are not asked any longer."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_BRAKE_SECONDS):
            depths = list(self._depths())
            if depths:
                self._note(sum(waiting for _, waiting, _ in depths), sum(leased for *_, leased in depths))
            for queue, waiting, _ in depths:
                if waiting > self._deepest:
                    self._ended.set()
                    self._stop(
                        f"the brake ended the load: {waiting} tasks wait in the queue {queue!r}, "
                        f"more than --load-brake {self._deepest}"
                    )
                    return

    def _depths(self) -> Iterator[tuple[str, int, int]]:
        for queue, client in self._clients.items():
            try:
                depth = client.queue.depth()
            except EXPECTED:  # the load itself reports servers that do not answer
                continue
            yield queue, depth.ready + depth.scheduled + depth.parked, depth.leased
