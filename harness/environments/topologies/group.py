"""Several server processes that are one service: base class of the topologies with a primary and replicas."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from harness.environments.base import Service
from harness.environments.services import Server
from harness.errors import EnvironmentUnavailable

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05

FoundT = TypeVar("FoundT")


class GroupMember(Server, Protocol):
    """One of the servers of a group, a process or a container; all reach one another on the loopback address."""

    @property
    def port(self) -> int:
        """The port for clients and for other members, known once it was launched."""
        ...


class ServerGroup(ABC):
    """A service of several servers, one of which is its primary.

    `kill`, `pause` and the rest affect all of them; `fail_over` takes the primary alone.
    """

    service: Service

    @property
    @abstractmethod
    def members(self) -> Sequence[GroupMember]:
        """All servers, in the order in which they start."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL by which clients find the primary."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The version of the servers, and how many there are."""

    @abstractmethod
    def begin(self) -> None:
        """Launch the first server."""

    @abstractmethod
    def finish(self) -> None:
        """Start the rest; returns once all are in step."""

    @abstractmethod
    def fail_over(self, *, lag: float = 0.0, frozen: bool = False) -> None:
        """As `FailsOver.fail_over`."""

    @abstractmethod
    def rejoin(self) -> None:
        """As `FailsOver.rejoin`."""

    def kill(self) -> None:
        """SIGKILL all servers; returns once they are gone."""
        for member in self.members:
            member.kill()

    def shut_down(self) -> None:
        """Stop all servers in order; returns once they are gone."""
        for member in self.members:
            member.shut_down()

    def restart(self) -> None:
        """Start all servers again; returns once each answers."""
        for member in self.members:
            member.restart()

    def pause(self) -> None:
        """Freeze all servers."""
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        """Resume all servers; returns once each answers."""
        for member in self.members:
            member.resume()

    def log(self) -> str:
        """The logs of all servers, one after another."""
        return "".join(member.log() for member in self.members)

    def forget(self) -> None:
        """Collect the exit status of each process after the session killed it."""
        for member in self.members:
            member.forget()

    def wait_for(self, what: str, find: Callable[[], FoundT | None]) -> FoundT:
        """Call `find` until it returns something true; raises `EnvironmentUnavailable` after a minute."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (found := find()):
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(
                    f"The servers of {self.service} have not come to this within {_PATIENCE_SECONDS:.0f} s: {what}. "
                    "See their logs, or run fewer other programs on this machine."
                )
            time.sleep(_POLL_SECONDS)
        return found
