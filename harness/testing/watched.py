"""A target on workers that the user runs: the harness starts no pool, submits its tasks, and reads what comes back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from harness.checkers.base import Checker
from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.history.promises import Promises
from harness.targets.agentexec_target import AgentexecTarget, opened
from harness.targets.applications.agentexec import AgentexecApplication
from harness.targets.applications.agentexec_observed import ObservedAgentexec
from harness.targets.applications.agentexec_watched import WatchedAgentexec, WatchedApplication
from harness.targets.base import Target, TargetSession, TargetSettings
from harness.targets.promised import promised
from harness.testing.application import Application, JudgedSession


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedTarget:
    """agentexec, or an application of it, whose workers listen on `queue`."""

    target: Target
    queue: str
    connect: Callable[[Endpoints, TargetSettings], TargetSession]

    @property
    def name(self) -> str:
        """That of the target."""
        return self.target.name

    @property
    def task_names(self) -> Collection[str] | None:
        """Those of the target."""
        names: Collection[str] | None = getattr(self.target, "task_names", None)
        return names

    def version(self) -> str:
        """That of the package of the harness, which the workers should have too."""
        return self.target.version()

    def promises(self, settings: TargetSettings) -> Promises:
        """Those of the target, without what only its workers could show, and without times.

        How soon a task goes on depends on the leases of the user, and on what starts a killed worker again.
        """
        return replace(
            promised(self.target, settings),
            recovers_within={},
            queue=False,
            progress=False,
            deadlock_free=False,
            locks=False,
            priorities=False,
        )

    def checkers(self) -> Mapping[str, Checker]:
        """Those of an application."""
        found: Callable[[], Mapping[str, Checker]] = getattr(self.target, "checkers", dict)
        return found()

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        """Open a session on the queue of the workers; raises `TargetFailed`."""
        return self.connect(endpoints, replace(settings, queue=self.queue))


def watched(target: Target, queue: str) -> WatchedTarget:
    """The target on the workers of a user; raises `UsageError` for one whose workers the harness has to start."""
    if isinstance(target, AgentexecTarget):
        return WatchedTarget(target=target, queue=queue, connect=_agentexec)
    if isinstance(target, Application) and isinstance(target.wrapped, AgentexecApplication):
        return WatchedTarget(target=target, queue=queue, connect=_of_application(target, target.wrapped))
    raise UsageError(
        f"--watch needs agentexec or an application of it, and the pools of {target.name} are started by the harness. "
        "Leave --watch out."
    )


def observed(target: Target, queue: str) -> WatchedTarget:
    """The target with the tasks of the user's producers, which are only read; raises `UsageError` for another one."""
    if not isinstance(target, AgentexecTarget):
        raise UsageError(
            f"--read-only reads the tasks of agentexec, and not those of {target.name}. Leave it out."
        )
    return WatchedTarget(target=target, queue=queue, connect=_observed)


def _observed(endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
    return opened(lambda: ObservedAgentexec(endpoints, settings))


def _agentexec(endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
    return opened(lambda: WatchedAgentexec(endpoints, settings))


def _of_application(
    application: Application, wrapped: AgentexecApplication
) -> Callable[[Endpoints, TargetSettings], TargetSession]:
    def connect(endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        session = opened(lambda: WatchedApplication(wrapped, endpoints, settings))
        closing = ExitStack()
        closing.callback(session.close)
        return JudgedSession(session, application.invariants, endpoints, closing)

    return connect
