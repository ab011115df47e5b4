"""The threads of a pool that call the servers, so that a server that is away never delays a respawn.

There are two: the release of a dead worker's leases must not wait for a long round of the reconciler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import redis
from sqlalchemy.exc import SQLAlchemyError

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.ops.logs import LastingProblem
from agentexec.text import summary
from agentexec.worker.reconciler import Reconciler, Rests

ROUND_EVERY = 1.0  # seconds
LONGEST_REST = 300.0  # seconds
RETRY_AFTER = 0.2  # seconds
STOP_WITHIN = 5.0  # seconds that the last releases may take; after that the leases expire by themselves

_logger = logging.getLogger(__name__)


class Maintenance:
    """Releases the leases of dead workers as soon as the servers answer, and reconciles once a second."""

    def __init__(self, reconciler: Reconciler, settings: Settings) -> None:
        self._reconciler = reconciler
        self._reconcile_seconds = settings.reconcile_seconds
        self._releases: runtime.Mailbox[Callable[[], None] | None] = runtime.current().mailbox()
        self._stopping = runtime.current().event()
        self._threads: list[runtime.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        spawn = runtime.current().spawn
        self._threads = [
            spawn(self._release, name="agentexec-releaser"),
            spawn(self._reconcile, name="agentexec-reconciler"),
        ]

    def release(self, worker: str, *, charge: bool) -> None:
        """Release the leases of a dead worker; with `charge` it crashed."""
        self._releases.put(partial(self._reconciler.release_worker, worker, charge=charge))

    def stop(self) -> None:
        """Do the releases that are queued, then end."""
        self._stopping.set()
        self._releases.put(None)
        for thread in self._threads:
            thread.join(STOP_WITHIN)

    def _release(self) -> None:
        problem = LastingProblem(_logger, "the leases of dead workers are released again")
        while (release := self._releases.get()) is not None:
            while not _succeeds(release, problem):
                if self._stopping.wait(RETRY_AFTER):
                    return

    def _reconcile(self) -> None:
        problem = LastingProblem(_logger, "the reconciler works again")
        rests, next_pass = Rests(), runtime.current().monotonic() + self._reconcile_seconds
        while not self._stopping.is_set():
            began = runtime.current().monotonic()
            full_pass = began >= next_pass
            if _succeeds(partial(self._reconciler.run_round, full_pass=full_pass), problem) and full_pass:
                now = runtime.current().monotonic()
                next_pass = now + max(self._reconcile_seconds, min(LONGEST_REST, rests.after(now - began)))
            self._stopping.wait(ROUND_EVERY)


def _succeeds(work: Callable[[], None], problem: LastingProblem) -> bool:
    """Do the work and log what it raises; returns whether it raised nothing."""
    try:
        work()
    except (redis.RedisError, SQLAlchemyError) as error:
        problem.seen(f"a server refuses the pool's maintenance ({summary(error)}); trying again")
        return False
    except Exception as error:  # noqa: BLE001 - one row that cannot be read must not end the maintenance of others
        problem.seen(f"the pool's maintenance failed ({summary(error)}); trying again", trace=True)
        return False
    problem.seen(None)
    return True
