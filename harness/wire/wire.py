"""The wire: a TCP proxy of the harness between any process and one of its servers, on every backend and without root.

Without rules it forwards bytes untouched. Conditions make a link slow, narrow or dead. With a protocol it counts the
commands of its clients, and a strike falls on one of them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from harness.environments.base import Service
from harness.environments.ports import LOOPBACK
from harness.errors import UsageError
from harness.wire.commands import Conversation, SeenCommand
from harness.wire.conditions import CLEAR, Conditions, Direction, Stream
from harness.wire.link import ClientEnd, Link
from harness.wire.lost_scripts import LostScripts
from harness.wire.postgres import PostgresConversation
from harness.wire.reply_loss import ReplyLoss
from harness.wire.resp import RespConversation
from harness.wire.strikes import ArmedStrike, Command, Strike, WireClient

_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 30.0
_BACKLOG = 512

Answer = TypeVar("Answer")
Clients = Callable[[WireClient], bool]
"""Chooses clients, for example by their name or their port."""


class Wire:
    """Forwards TCP connections from a port of the loopback address to the server of a URL, until `close`.

    With `protocol` (`redis` or `postgres`) it reads the commands; an encrypted connection stays unread. Safe to use
    from any thread. `seed` decides the jitter. A wire to Postgres answers a request for encryption itself, with no,
    unless `passes_tls`.
    """

    def __init__(
        self,
        server_url: str,
        *,
        protocol: Service | None = None,
        passes_tls: bool = False,
        seed: int = 0,
    ) -> None:
        parts = urlsplit(server_url)
        if parts.hostname is None or parts.port is None:
            raise UsageError("A proxy needs a server with a host and a port. Give a URL that has both.")
        self._server = (parts.hostname, parts.port)
        self._parts = parts
        self._protocol = protocol
        self._passes_tls = passes_tls
        self._random = Random(seed)  # noqa: S311 - jitter, not a secret
        self._rules: list[tuple[Clients | None, Direction, Conditions]] = []
        self._cut = False
        self._links: set[Link] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._armed: list[ArmedStrike] = []
        self._watched: list[Command] | None = None
        self._commands = 0
        self._kinds: Counter[tuple[str, str]] | None = None
        self.losing = ReplyLoss()
        self.scripts = LostScripts()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        self._port: int = self._listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._accepting = self.loop.run_until_complete(
            self.loop.create_server(self._client_end, sock=self._listener, backlog=_BACKLOG)
        )
        self._thread = threading.Thread(target=self.loop.run_forever, name="wire", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the server with the address of this wire."""
        account, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{account}{at}{LOOPBACK}:{self._port}"))

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._port

    @property
    def clients(self) -> list[WireClient]:
        """The clients of the open connections."""
        return self._call(lambda: [link.client for link in self._links])

    @property
    def commands(self) -> int:
        """How many commands have passed so far."""
        return self._commands

    def put(self, conditions: Conditions, *directions: Direction, of: Clients | None = None) -> None:
        """Carry bytes under these conditions from now on; in both directions unless some are named.

        With `of` only those of the chosen clients. The last conditions that fit a connection hold for it; `CLEAR` ends
        all others of the same clients.
        """
        self._call(lambda: self._put(conditions, directions or tuple(Direction), of))

    def clear(self) -> None:
        """End all conditions and the connections that are half open, and let clients connect again."""

        def clear() -> None:
            self._cut = False
            self._rules.clear()
            for link in [link for link in self._links if link.half_open]:
                link.close()
            self._apply()

        self._call(clear)

    def cut(self) -> None:
        """End every connection and refuse new ones, until `clear`."""

        def cut() -> None:
            self._cut = True
            self._each(Link.close, None)

        self._call(cut)

    def reset(self, of: Clients | None = None) -> None:
        """End the present connections with a reset; new ones are accepted."""
        self._call(lambda: self._each(Link.reset, of))

    def end(self, of: Clients | None = None) -> None:
        """End the present connections in order; new ones are accepted."""
        self._call(lambda: self._each(Link.close, of))

    def open_half(self, of: Clients | None = None) -> None:
        """Let the server lose the present connections without the clients' knowledge: they get no answer any more."""
        self._call(lambda: self._each(Link.open_half, of))

    def arm(self, strike: Strike) -> ArmedStrike:
        """Wait for the command of a strike and strike it, once; raises `UsageError` for a wire without a protocol."""
        if self._protocol is None:
            raise UsageError("This wire reads no commands. Give it the protocol of its server.")
        armed = ArmedStrike(strike)
        self._call(lambda: self._armed.append(armed))
        return armed

    def disarm(self, armed: ArmedStrike) -> None:
        """Forget a strike that has not fallen; what it holds passes."""

        def disarm() -> None:
            if armed in self._armed:
                self._armed.remove(armed)

        self._call(disarm)
        armed.release()

    def watch(self) -> None:
        """Begin to list the commands, from number 1."""

        def watch() -> None:
            self._watched, self._commands = [], 0

        self._call(watch)

    def watched(self) -> list[Command]:
        """The commands since `watch`."""
        return self._call(lambda: list(self._watched or ()))

    def lose_scripts(self, *, lost: bool) -> None:
        """Let Redis know none of the scripts that clients call by their digests, until they load them; or end that."""
        self._call(lambda: self.scripts.lose(lost=lost))

    def count_kinds(self) -> None:
        """Begin to count the commands by the name of their client and their own name."""

        def count() -> None:
            self._kinds = Counter()

        self._call(count)

    def kinds(self) -> Counter[tuple[str, str]]:
        """The counts since `count_kinds`, by the name of the client and that of the command."""
        return self._call(lambda: Counter(self._kinds or ()))

    @property
    def is_losing(self) -> bool:
        """Whether a reply is going to be lost."""
        return self.losing.is_armed

    def lose_reply(self, *, skip: int, within: float, at_least: int = 0, to: bytes = b"") -> bool:
        """Forward `skip` replies and lose the next one with its connection; False if none comes `within` seconds.

        A reply is what arrives at once after a request, in any protocol. Replies of fewer than `at_least` bytes, and
        those to a request without the bytes `to`, pass and are not counted.
        """
        return self.losing.lose(skip=skip, within=within, at_least=at_least, to=to)

    def close(self) -> None:
        """Close the listener and every connection; may be called twice."""
        if not self._thread.is_alive():
            return

        def close() -> None:
            self._accepting.close()
            for task in self._connecting:
                task.cancel()
            self._each(Link.close, None)
            self.loop.call_soon(self.loop.stop)

        self.loop.call_soon_threadsafe(close)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # What links ask of their wire, on its loop.

    def opened(self, link: Link) -> None:
        if self._cut:
            link.reset()
            return
        self._links.add(link)
        task = self.loop.create_task(self._connect(link))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def closed(self, link: Link) -> None:
        self._links.discard(link)

    def renamed(self, link: Link) -> None:
        for direction, stream in link.streams.items():
            stream.put(self._conditions(link, direction))

    def seen(self, link: Link, seen: Sequence[SeenCommand]) -> list[tuple[SeenCommand, Command, ArmedStrike]]:
        if self._kinds is not None:
            self._kinds.update((link.client.name, one.name) for one in seen)
        if not self._armed and self._watched is None:
            self._commands += len(seen)
            return []
        struck = []
        for one in seen:
            self._commands += 1
            command = Command(number=self._commands, name=one.name, client=link.client)
            if self._watched is not None:
                self._watched.append(command)
            armed = next((each for each in self._armed if each.counts(one.name, command.client)), None)
            if armed is not None:
                self._armed.remove(armed)
                struck.append((one, command, armed))
        return struck

    def stream(self, link: Link, direction: Direction) -> Stream:
        stream = Stream(
            self.loop,
            write=lambda data: link.write(direction, data),
            end=lambda: link.end(direction),
            full=lambda full: link.pause(direction, paused=full),
            random=self._random,
        )
        stream.put(self._conditions(link, direction))
        return stream

    def _client_end(self) -> ClientEnd:
        return ClientEnd(self, self._conversation())

    def _conversation(self) -> Conversation | None:
        match self._protocol:
            case "redis":
                return RespConversation()
            case "postgres":
                return PostgresConversation(refuses_tls=not self._passes_tls)
        return None

    async def _connect(self, link: Link) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                transport, _ = await self.loop.create_connection(link.server_end, *self._server)
        except OSError:
            link.close()
            return
        if link not in self._links:  # it was ended meanwhile
            transport.abort()
            return
        link.server_connected(transport)

    def _put(self, conditions: Conditions, directions: Sequence[Direction], of: Clients | None) -> None:
        for direction in directions:
            self._rules = [rule for rule in self._rules if rule[:2] != (of, direction)]
            if conditions != CLEAR:
                self._rules.append((of, direction, conditions))
        self._apply()

    def _apply(self) -> None:
        for link in list(self._links):
            self.renamed(link)

    def _conditions(self, link: Link, direction: Direction) -> Conditions:
        fitting = (
            conditions
            for of, to, conditions in reversed(self._rules)
            if to is direction and (of is None or of(link.client))
        )
        return next(fitting, CLEAR)

    def _each(self, action: Callable[[Link], None], of: Clients | None) -> None:
        for link in list(self._links):
            if of is None or of(link.client):
                action(link)

    def _call(self, action: Callable[[], Answer]) -> Answer:
        """Run an action on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(_called(action), self.loop).result(_CALL_SECONDS)


async def _called(action: Callable[[], Answer]) -> Answer:
    return action()
