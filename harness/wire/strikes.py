"""Strikes: what a wire does to one command of a client, before the server has it or before the client has its reply."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """When a strike falls: before the server has the command, or after its effect and before its reply."""

    BEFORE = "before"
    AFTER = "after"


class Blow(StrEnum):
    """What a strike does to the connection.

    HOLD: the command, or its reply, and everything after it waits until `ArmedStrike.release` or the end of the
    connection. CLOSE: the connection ends, in order. RESET: it ends with a reset. DELAY: as HOLD, for `seconds`.
    OUTLIVE: as HOLD, and what is held before the server arrives there even after the client has ended, as packets do
    that are under way.
    """

    HOLD = "hold"
    OUTLIVE = "outlive"
    CLOSE = "close"
    RESET = "reset"
    DELAY = "delay"


@dataclass(frozen=True, kw_only=True, slots=True)
class WireClient:
    """The client of a connection: its own port, and the name that it gave itself (empty if none)."""

    port: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command as a wire has seen it: `number` counts those of the wire since the last `Wire.watch`."""

    number: int
    name: str
    client: WireClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """A strike at the command number `number`, counted from the moment at which the strike is armed.

    With `name` only commands of that name count, and with `of` only those of the clients for which it returns True.
    """

    blow: Blow
    moment: Moment = Moment.BEFORE
    number: int = 1
    name: str | None = None
    of: Callable[[WireClient], bool] | None = None
    seconds: float = 0.0


class ArmedStrike:
    """A strike that waits for its command; safe to use from any thread."""

    def __init__(self, strike: Strike) -> None:
        self.strike = strike
        self.command: Command | None = None
        self._seen = 0
        self._struck = threading.Event()
        self._release: Callable[[], None] = _nothing

    def wait(self, within: float) -> Command | None:
        """The command that was struck, once the blow has fallen; None after `within` seconds."""
        return self.command if self._struck.wait(within) else None

    def release(self) -> None:
        """Let pass what is held."""
        self._release()

    def counts(self, name: str, client: WireClient) -> bool:
        """Count a command; True if it is the one to be struck."""
        strike = self.strike
        if (strike.name is not None and strike.name != name) or (
            strike.of is not None and not strike.of(client)
        ):
            return False
        self._seen += 1
        return self._seen == strike.number

    def fell(self, command: Command, release: Callable[[], None]) -> None:
        """Note the command, and end the waits for it."""
        self.command, self._release = command, release
        self._struck.set()


def _nothing() -> None:
    return
