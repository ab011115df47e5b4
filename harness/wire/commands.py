"""What a wire reads from a connection: the commands of its client, and the replies to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SeenCommand:
    """One whole command of a client, in the bytes of one read.

    `number` counts the commands of the connection from 1. `start` is where it begins, 0 if it began in an earlier read;
    `end` is the byte after it.
    """

    number: int
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to the command `number`, in the bytes of one read; `start` and `end` as in `SeenCommand`.

    A reply that is not `settled` is followed by one that is: Postgres may still undo what it has answered until it is
    ready for the next query.
    """

    number: int
    start: int
    end: int
    settled: bool = True


class Conversation(Protocol):
    """The state of one connection: reads both directions, in any slices, and changes nothing."""

    client_name: str
    """The name that the client gave itself; empty if it gave none."""

    def refused(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the client's bytes to forward, and what to answer without asking the server."""
        ...

    def requests(self, data: bytes) -> list[SeenCommand]:
        """The commands that end in these bytes of the client; raises `Unreadable`."""
        ...

    def replies(self, data: bytes) -> list[Reply]:
        """The replies that end in these bytes of the server; raises `Unreadable`."""
        ...


class Unreadable(Exception):
    """The bytes are not of the protocol, for example because they are encrypted; they are forwarded all the same."""
