"""The parent of a pool: starts workers, replaces dead ones, releases their leases at once, and drains.

One loop takes events from one mailbox: a child is ready, a child died, a stop was requested. Other threads do what
needs a server (releases, reconciliation), so that a Redis that is away never delays a respawn.
"""

from __future__ import annotations

import logging
import math
import queue
from collections.abc import Mapping

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.core.counters import COUNTERS, WORKER_DEATHS
from agentexec.errors import ConfigurationError
from agentexec.worker.child import ChildEvent, Died, Leaving, Ready, StartChild, WorkerProcess
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.protocol import ExitCode, StopCommand, WorkerSpec
from agentexec.worker.reference import PoolReference

# Seconds past the graceful time-out that a worker has to cancel its handlers and end by itself.
KILL_MARGIN = 5.0
# Ends that the running tasks did not cause.
UNCHARGED = (ExitCode.GONE, ExitCode.OVERDUE, ExitCode.FAILED)
# Deaths in a row of one slot's workers before they are ready. If the pool never had a ready one, it stops then.
MAX_FAILED_STARTS = 5
HEALTHY_AFTER = 10.0  # seconds of life after which a death is no longer early
FIRST_BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds; doubles with each early death of a slot
FORK_PAUSE = 5.0  # seconds until the next try after the system refused to start a process
# Service managers, `timeout` and shells signal the process and then its group: within so many seconds it is one signal.
SAME_SIGNAL = 0.5

_logger = logging.getLogger(__name__)


class Supervisor:
    """Runs one pool until it is stopped. `run` blocks; the rest may be called from any thread or signal handler."""

    def __init__(
        self,
        *,
        reference: PoolReference,
        expected_tasks: tuple[str, ...],
        settings: Settings,
        maintenance: Maintenance,
        start_child: StartChild,
        overrides: Mapping[str, object] | None = None,
    ) -> None:
        """`expected_tasks` have to be registered in every worker process; `start_child` makes these.

        `overrides` are the settings that the module of the pool does not have.
        """
        self._reference = reference
        self._expected_tasks = expected_tasks
        self._overrides = overrides or {}
        self._start_child = start_child
        self._settings = settings
        self._events: runtime.Mailbox[ChildEvent | StopCommand] = runtime.current().mailbox()
        self._children: dict[int, WorkerProcess] = {}
        self._leaving: set[WorkerProcess] = set()  # they end by themselves; others have their slots
        self._early_deaths: dict[int, int] = {}
        self._respawns: dict[int, float] = {}  # when to start the next worker of a slot
        self._pool_id = runtime.current().nonce()[:12]
        self._incarnation = 0
        self._draining = False
        self._drain_began = -math.inf
        self._deadline: float | None = None
        self._failed = False
        self._ever_ready = False
        self._refusal: str | None = None  # why no worker can start
        self._maintenance = maintenance
        self.ended = runtime.current().event()

    @property
    def ready_workers(self) -> int:
        """The number of worker processes that take tasks right now."""
        return sum(child.ready for child in list(self._children.values()))

    def stop(self, command: StopCommand) -> None:
        """DRAIN ends the pool gracefully; NOW, or a second DRAIN, cancels running handlers."""
        self._events.put(command)

    def run(self) -> int:
        """Run until drained; returns 0, or 1 if a worker had to be killed or failed while draining.

        Raises `ConfigurationError` if no worker can start.
        """
        self._maintenance.start()
        for slot in range(self._settings.num_workers):
            self._spawn(slot)
        try:
            while self._all() or not self._draining:
                self._handle_next()
        finally:
            for child in self._all():
                child.kill()
            self._maintenance.stop()
            self.ended.set()
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)
        return 1 if self._failed else 0

    def _handle_next(self) -> None:
        due = min([*self._respawns.values(), math.inf if self._deadline is None else self._deadline])
        timeout = None if due == math.inf else max(0.0, due - runtime.current().monotonic())
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            self._handle_due(due)
            return
        match event:
            case Ready(child):
                child.ready = self._ever_ready = True
            case Leaving(child):
                self._replace(child)
            case Died():
                self._remove(event)
            case StopCommand():
                self._begin_stop(event)

    def _handle_due(self, now: float) -> None:
        if self._deadline is not None and self._deadline <= now:
            self._kill_stragglers()
        for slot in [slot for slot, at in self._respawns.items() if at <= now]:
            del self._respawns[slot]
            self._spawn(slot)

    def _begin_stop(self, command: StopCommand) -> None:
        now = runtime.current().monotonic()
        if command is StopCommand.DRAIN and now - self._drain_began < SAME_SIGNAL:
            return
        immediately = command is StopCommand.NOW or self._draining
        timeout = 0.0 if immediately else self._settings.graceful_shutdown_timeout
        if not self._draining:
            self._drain_began = now
        self._draining = True
        self._respawns.clear()
        self._deadline = now + timeout + KILL_MARGIN
        how = " at once" if immediately else f" within {timeout:g} s"
        _logger.info("stopping %d worker(s)%s", len(self._all()), how)
        for child in self._all():
            child.stop(StopCommand.NOW if immediately else StopCommand.DRAIN)

    def _remove(self, death: Died) -> None:
        """A child ended. Its leases are released at once, unless it drained and has none."""
        child, code, reason = death
        left, slot = child in self._leaving, child.spec.slot
        self._leaving.discard(child)
        if not left:
            self._children.pop(slot, None)
        if code == ExitCode.RECYCLED or (code == 0 and self._draining):
            if not left and not self._draining:  # its death was noticed before its notice that it leaves
                self._spawn(slot)
            return
        # Before it is ready, it has no task that could be lost.
        self._failed |= self._draining and child.ready
        COUNTERS.add(WORKER_DEATHS)
        said = f": {reason}" if reason else ""
        _logger.warning("worker %s (pid %d) ended with code %d%s", child.spec.name, child.pid, code, said)
        self._maintenance.release(child.spec.name, charge=code not in UNCHARGED and not self._draining)
        if not self._draining and not left:
            self._respawn(death)

    def _replace(self, child: WorkerProcess) -> None:
        """Start another worker in the slot of a child that leaves."""
        if self._draining or self._children.get(child.spec.slot) is not child:
            return
        _logger.info("worker %s (pid %d) is recycled", child.spec.name, child.pid)
        self._leaving.add(child)
        self._spawn(child.spec.slot)

    def _all(self) -> list[WorkerProcess]:
        return [*self._children.values(), *self._leaving]

    def _respawn(self, death: Died) -> None:
        """Start a worker again: at once, or after a growing pause if the slot keeps failing early by itself.

        If no worker was ever ready and none can be, the pool stops instead.
        """
        child, code, reason = death
        slot = child.spec.slot
        by_itself = not child.ready or code == ExitCode.FAILED  # and not by a signal of others
        early = runtime.current().monotonic() - child.started < HEALTHY_AFTER and by_itself
        deaths = self._early_deaths.get(slot, 0) + 1 if early else 0
        self._early_deaths[slot] = deaths
        if not deaths:
            self._spawn(slot)
            return
        if not self._ever_ready and (
            code == ExitCode.MISCONFIGURED or (code != ExitCode.FAILED and deaths >= MAX_FAILED_STARTS)
        ):
            self._refusal = reason or (
                f"No worker can start: {deaths} in a row ended before they were ready, the last one with code {code}; "
                "see what they wrote."
            )
            self._begin_stop(StopCommand.NOW)
            return
        pause = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(deaths - 1, 10))
        when = "failed soon after its start" if child.ready else "died before it was ready"
        _logger.error("worker slot %d %s, %d time(s); next try in %.1f s", slot, when, deaths, pause)
        self._respawns[slot] = runtime.current().monotonic() + pause

    def _spawn(self, slot: int) -> None:
        self._incarnation += 1
        spec = WorkerSpec(
            name=f"{self._pool_id}-{slot}-{self._incarnation}",
            slot=slot,
            reference=self._reference,
            expected_tasks=self._expected_tasks,
            settings=self._overrides,
        )
        try:
            self._children[slot] = self._start_child(spec, self._events.put)
        except OSError as error:  # no memory or no process is left: the other workers must live on
            message = "worker slot %d cannot be started (%s); next try in %.1f s"
            _logger.error(message, slot, error, FORK_PAUSE)
            self._respawns[slot] = runtime.current().monotonic() + FORK_PAUSE

    def _kill_stragglers(self) -> None:
        self._deadline = None
        self._failed = True
        for child in self._all():
            _logger.error("worker %s (pid %d) does not end; killing it", child.spec.name, child.pid)
            child.kill()
