"""The parent of a pool: starts workers, replaces dead ones, gives their leases back at once, and drains.

One loop takes events from one queue: a child is ready, a child died, a signal arrived. Other threads do
what needs a server (releasing a dead child's leases, healing), so that a Redis that is away never delays a
respawn.
"""

from __future__ import annotations

import logging
import math
import queue
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.counters import COUNTERS, WORKER_DEATHS
from agentexec.worker.child import Child, ChildEvent, Died, Leaving, Ready, StartChild, WorkerProcess
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.process_codes import EXIT_FAILED, EXIT_GONE, EXIT_OVERDUE, EXIT_RECYCLED
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.reference import PoolReference

KILL_MARGIN = (
    5.0  # seconds past the graceful time-out that a worker has to cancel its handlers and end by itself
)
UNCHARGED = (EXIT_GONE, EXIT_OVERDUE)  # ends that are not the fault of the tasks that were running
HEALTHY_AFTER = 10.0  # seconds of life after which an early death is no longer counted against a slot
MAX_BACKOFF = 30.0  # seconds
FORK_PAUSE = 5.0  # seconds until the next try where the system has no process to give
# Service managers, `timeout` and shells signal the process and then its group: within so many seconds it is one signal.
SAME_SIGNAL = 0.5

_logger = logging.getLogger(__name__)


class StopCommand(StrEnum):
    """What the outside asks of a running pool."""

    DRAIN = "drain"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class _Respawn:
    slot: int


Event = ChildEvent | StopCommand | _Respawn


class Supervisor:
    """Runs one pool until it is told to stop; `run` blocks, the rest may be called from any thread or
    signal handler.
    """

    def __init__(
        self,
        *,
        reference: PoolReference,
        expect: list[str],
        settings: Settings,
        healer: Reconciler,
        start_child: StartChild | None = None,
    ) -> None:
        """`start_child` makes worker processes; by default real ones."""
        self._reference = reference
        self._expect = expect
        self._start_child: StartChild = Child if start_child is None else start_child
        self._settings = settings
        self._events: runtime.Mailbox[Event] = runtime.current().mailbox()
        self._children: dict[int, WorkerProcess] = {}
        self._leaving: set[WorkerProcess] = (
            set()
        )  # they end by themselves; their slots have been given to others
        self._early_deaths: dict[int, int] = {}
        self._pool_id = runtime.current().nonce()[:12]
        self._incarnation = 0
        self._draining = False
        self._drain_began = -math.inf
        self._deadline: float | None = None
        self._failed = False
        self._maintenance = Maintenance(healer, reconcile_seconds=settings.reconcile_seconds)
        self.ended = runtime.current().event()

    @property
    def ready_workers(self) -> int:
        """How many worker processes take tasks right now."""
        return sum(child.ready for child in list(self._children.values()))

    def order(self, order: StopCommand) -> None:
        """DRAIN ends the pool gracefully; NOW, or a second DRAIN, cancels running handlers."""
        self._events.put(order)

    def run(self) -> int:
        """Run until drained; returns 0, or 1 if a worker had to be killed or failed while draining."""
        self._maintenance.start()
        for slot in range(self._settings.num_workers):
            self._spawn(slot)
        try:
            while self._all() or not self._draining:
                self._handle(self._next_event())
        finally:
            for child in self._all():
                child.kill()
            self._maintenance.stop()
            self.ended.set()
        return 1 if self._failed else 0

    def _next_event(self) -> Event | None:
        timeout = None if self._deadline is None else max(0.0, self._deadline - runtime.current().monotonic())
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _handle(self, event: Event | None) -> None:
        match event:
            case None:
                self._kill_stragglers()
            case Ready(child):
                child.ready = True
            case Leaving(child):
                self._replace(child)
            case Died(child, code):
                self._bury(child, code)
            case _Respawn(slot):
                if not self._draining and slot not in self._children:
                    self._spawn(slot)
            case StopCommand():
                self._obey(event)

    def _obey(self, order: StopCommand) -> None:
        if order is StopCommand.DRAIN and runtime.current().monotonic() - self._drain_began < SAME_SIGNAL:
            return
        immediately = order is StopCommand.NOW or self._draining
        timeout = 0.0 if immediately else self._settings.graceful_shutdown_timeout
        if not self._draining:
            self._drain_began = runtime.current().monotonic()
        self._draining = True
        self._deadline = runtime.current().monotonic() + timeout + KILL_MARGIN
        _logger.info(
            "stopping %d worker(s)%s",
            len(self._all()),
            " at once" if immediately else f" within {timeout:g} s",
        )
        for child in self._all():
            if immediately:
                child.stop_now()
            else:
                child.drain()

    def _bury(self, child: WorkerProcess, code: int) -> None:
        """A child ended. Its leases are given back at once, unless it drained and has none."""
        left = child in self._leaving
        self._leaving.discard(child)
        if not left:
            self._children.pop(child.slot, None)
        if code == EXIT_RECYCLED or (code == 0 and self._draining):
            if not left and not self._draining:  # its death was noticed before its notice that it leaves
                self._spawn(child.slot)
            return
        self._failed |= self._draining
        COUNTERS.add(WORKER_DEATHS)
        _logger.warning("worker %s (pid %d) ended with code %d", child.name, child.pid, code)
        self._maintenance.release(child.name, charge=code not in UNCHARGED and not self._draining)
        if not self._draining and not left:
            self._respawn(child, code)

    def _replace(self, child: WorkerProcess) -> None:
        """A child leaves: another takes its place while it finishes what it has."""
        if self._draining or self._children.get(child.slot) is not child:
            return
        _logger.info("worker %s (pid %d) is recycled", child.name, child.pid)
        self._leaving.add(child)
        self._spawn(child.slot)

    def _all(self) -> list[WorkerProcess]:
        return [*self._children.values(), *self._leaving]

    def _respawn(self, child: WorkerProcess, code: int) -> None:
        """At once after a healthy life; with doubling pauses while a slot keeps dying young, for a reason of its
        own and not by somebody's signal.
        """
        by_itself = not child.ready or code == EXIT_FAILED
        young = runtime.current().monotonic() - child.started < HEALTHY_AFTER and by_itself
        deaths = self._early_deaths.get(child.slot, 0) + 1 if young else 0
        self._early_deaths[child.slot] = deaths
        if not deaths:
            self._spawn(child.slot)
            return
        pause = min(MAX_BACKOFF, 0.25 * 2 ** min(deaths, 10))
        when = "failed soon after its start" if child.ready else "died before it was ready"
        _logger.error("worker slot %d %s, %d time(s); next try in %.1f s", child.slot, when, deaths, pause)
        self._spawn_after(pause, child.slot)

    def _spawn_after(self, pause: float, slot: int) -> None:
        runtime.current().after(pause, lambda: self._events.put(_Respawn(slot)))

    def _spawn(self, slot: int) -> None:
        self._incarnation += 1
        name = f"{self._pool_id}-{slot}-{self._incarnation}"
        post: Callable[[ChildEvent], None] = self._events.put
        try:
            self._children[slot] = self._start_child(
                name=name, slot=slot, reference=self._reference, expect=self._expect, post=post
            )
        except OSError as error:  # no memory or no process to be had: the others must live on
            _logger.error(
                "worker slot %d cannot be started (%s); next try in %.1f s", slot, error, FORK_PAUSE
            )
            self._spawn_after(FORK_PAUSE, slot)

    def _kill_stragglers(self) -> None:
        self._deadline = None
        for child in self._all():
            _logger.error("worker %s (pid %d) does not end; killing it", child.name, child.pid)
            child.kill()
