"""The threads of a pool that talk to the servers, so that a server that is away never delays a respawn.

Two of them: giving back what a dead worker held must not wait for a long comparison of the record with the
queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import redis
from sqlalchemy.exc import SQLAlchemyError

from agentexec.core import runtime
from agentexec.worker.reconciler import Reconciler

HEAL_EVERY = 1.0  # seconds
RETRY_AFTER = 0.2  # seconds
STOP_WITHIN = 5.0  # seconds that the last releases may take; past them the leases expire by themselves

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Release:
    worker: str
    charge: bool


class Maintenance:
    """Releases dead workers' leases as soon as the servers answer, and heals once a second."""

    def __init__(self, healer: Reconciler, *, reconcile_seconds: float) -> None:
        self._healer = healer
        self._reconcile_seconds = reconcile_seconds
        self._due: runtime.Mailbox[_Release | None] = runtime.current().mailbox()
        self._stopping = runtime.current().event()
        self._threads: list[runtime.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        spawn = runtime.current().spawn
        self._threads = [
            spawn(self._release_due, name="agentexec-releaser"),
            spawn(self._heal, name="agentexec-healer"),
        ]

    def release(self, worker: str, *, charge: bool) -> None:
        """Give back what a dead worker held; `charge` counts one crash for each of its tasks."""
        self._due.put(_Release(worker, charge))

    def stop(self) -> None:
        """Do the releases that are due, then end."""
        self._stopping.set()
        self._due.put(None)
        for thread in self._threads:
            thread.join(STOP_WITHIN)

    def _release_due(self) -> None:
        while (due := self._due.get()) is not None:
            while not self._attempt(self._releasing(due)):
                if self._stopping.wait(RETRY_AFTER):
                    return

    def _releasing(self, due: _Release) -> Callable[[], None]:
        return lambda: self._healer.release_worker(due.worker, charge=due.charge)

    def _heal(self) -> None:
        next_thorough = runtime.current().monotonic() + self._reconcile_seconds
        while not self._stopping.is_set():
            thorough = runtime.current().monotonic() >= next_thorough
            if self._attempt(self._healing_round(thorough)) and thorough:
                next_thorough = runtime.current().monotonic() + self._reconcile_seconds
            self._stopping.wait(HEAL_EVERY)

    def _healing_round(self, thorough: bool) -> Callable[[], None]:
        return lambda: self._healer.heal(thorough=thorough)

    def _attempt(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except (redis.RedisError, SQLAlchemyError) as error:
            _logger.warning(
                "a server does not answer the pool's maintenance (%s); trying again", type(error).__name__
            )
            return False
        except Exception:  # one row that cannot be read must not end the healing of all others
            _logger.exception("the pool's maintenance failed; trying again")
            return False
        return True
