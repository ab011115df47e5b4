"""One connection through a wire: its two ends, its two streams, and the strikes that fall on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Protocol

from harness.wire.commands import Conversation, SeenCommand, Unreadable
from harness.wire.conditions import Direction, Stream
from harness.wire.lost_scripts import LostScripts
from harness.wire.reply_loss import ReplyLoss
from harness.wire.strikes import ArmedStrike, Blow, Command, Moment, WireClient

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class LinkOwner(Protocol):
    """What a connection needs of its wire; every method runs on the wire's loop."""

    loop: asyncio.AbstractEventLoop
    losing: ReplyLoss
    scripts: LostScripts

    def opened(self, link: Link) -> None:
        """A client has connected: connect the link to the server."""
        ...

    def closed(self, link: Link) -> None:
        """Forget a link."""
        ...

    def renamed(self, link: Link) -> None:
        """Apply the conditions of the name that a client gave itself."""
        ...

    def seen(self, link: Link, seen: Sequence[SeenCommand]) -> list[tuple[SeenCommand, Command, ArmedStrike]]:
        """Count commands; those that are struck."""
        ...

    def stream(self, link: Link, direction: Direction) -> Stream:
        """A new stream of a link under the present conditions."""
        ...


class _End(asyncio.Protocol):
    """One end of a link; the protocol of asyncio for its socket."""

    def __init__(self, link: Link, direction: Direction) -> None:
        self._link = link
        self._direction = direction

    def data_received(self, data: bytes) -> None:
        if self._direction is Direction.TO_SERVER:
            self._link.from_client(data)
        else:
            self._link.from_server(data)

    def eof_received(self) -> bool:
        self._link.finish(self._direction)
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        self._link.lost(self._direction, error)

    def pause_writing(self) -> None:
        self._link.pause(self._direction.opposite, paused=True)

    def resume_writing(self) -> None:
        self._link.pause(self._direction.opposite, paused=False)


class ClientEnd(_End):
    """The end at the client, made for each connection that a wire accepts."""

    def __init__(self, owner: LinkOwner, conversation: Conversation | None) -> None:
        super().__init__(Link(owner, conversation), Direction.TO_SERVER)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._link.client_connected(transport)
        self._owner.opened(self._link)


class Link:
    """One connection between a client and the server. All methods run on the loop of the wire."""

    def __init__(self, owner: LinkOwner, conversation: Conversation | None) -> None:
        self._owner = owner
        self.conversation = conversation
        self.half_open = False
        self.streams: dict[Direction, Stream] = {}
        self._transports: dict[Direction, asyncio.Transport] = {}
        self._early = b""  # what the client sent before the server was connected
        self._port = 0
        self._request: bytes | None = None  # the last bytes of the client that have no answer yet
        self._struck: tuple[int, Command, ArmedStrike] | None = None
        self._waits = False  # a strike waits for the rest of a reply
        self._outlives = False  # what is held reaches the server after the end of the client
        self._ended: set[Direction] = set()
        self._name = ""

    @property
    def client(self) -> WireClient:
        """The client as strikes and conditions know it."""
        return WireClient(port=self._port, name=self._name)

    def client_connected(self, transport: asyncio.Transport) -> None:
        """Remember the client's end, and read nothing before the server is connected."""
        self._transports[Direction.TO_SERVER] = transport
        peer = transport.get_extra_info("peername")
        self._port = int(peer[1]) if peer else 0
        transport.pause_reading()

    def server_connected(self, transport: asyncio.Transport) -> None:
        """Begin to forward."""
        self._transports[Direction.TO_CLIENT] = transport
        self.streams = {each: self._owner.stream(self, each) for each in Direction}
        if self._early:
            self.from_client(self._early)
        self._transports[Direction.TO_SERVER].resume_reading()

    def server_end(self) -> asyncio.Protocol:
        """The protocol of the connection to the server."""
        return _End(self, Direction.TO_CLIENT)

    def write(self, direction: Direction, data: bytes) -> None:
        """Write to one side."""
        self._transports[direction.opposite].write(data)

    def end(self, direction: Direction) -> None:
        """Tell one side that the other one sends no more."""
        if direction in self._ended:
            return
        transport = self._transports[direction.opposite]
        with contextlib.suppress(OSError):
            if not transport.is_closing():
                transport.write_eof()
        self._ended.add(direction)
        if len(self._ended) == len(Direction):
            for transport in self._transports.values():
                transport.close()
            self._owner.closed(self)

    def from_client(self, data: bytes) -> None:
        """Forward bytes of the client, up to a command that is struck before the server has it."""
        if self.half_open:
            return
        if not self.streams:  # asyncio of Python 3.11.2 reads all the same after a pause in `connection_made`
            self._early += data
            return
        self._request = data
        stream = self.streams[Direction.TO_SERVER]
        if self.conversation is None:
            stream.send(data)
            return
        data, answer = self.conversation.refused(data)
        if answer and Direction.TO_CLIENT not in self._ended:  # a server that has ended answers nothing
            self.write(Direction.TO_CLIENT, answer)
        try:
            commands = self.conversation.requests(data) if data else []
            if self.conversation.client_name != self._name:
                self._name = self.conversation.client_name
                self._owner.renamed(self)
            data = self._owner.scripts.changed(data, commands)
            struck = self._owner.seen(self, commands)
        except Unreadable:
            self.conversation, struck = None, []
        for seen, command, armed in struck:
            if armed.strike.moment is Moment.BEFORE:
                stream.send(data[: seen.start])
                stream.hold()
                stream.send(data[seen.start :])
                self._strike(command, armed, stream)
                return
            self._struck = (seen.number, command, armed)
        stream.send(data)

    def from_server(self, data: bytes) -> None:
        """Forward bytes of the server, up to a reply that is struck."""
        losing, request, self._request = self._owner.losing, self._request, None
        # Messages that no request asked for are no replies.
        if losing.is_armed and request is not None and losing.takes(len(data), request):
            self.close()
            return
        stream = self.streams[Direction.TO_CLIENT]
        if self.conversation is None:
            stream.send(data)
            return
        try:
            replies = self.conversation.replies(data)
        except Unreadable:
            self.conversation, replies = None, []
        struck = self._struck
        for reply in replies if struck is not None else ():
            if struck is None or reply.number != struck[0]:
                continue
            if not self._waits:
                self._waits = True
                stream.send(data[: reply.start])
                stream.hold()
                data = data[reply.start :]
            if reply.settled:
                self._struck, self._waits = None, False
                stream.send(data)
                self._strike(struck[1], struck[2], stream)
                return
        stream.send(data)

    def finish(self, direction: Direction) -> None:
        """One side sends no more. A client that ends while something is held never gets it, nor does its server."""
        of_client = direction is Direction.TO_SERVER
        if of_client and self._outlives:
            self.streams[direction].finish()
        elif of_client and (self.half_open or any(stream.is_held for stream in self.streams.values())):
            self.close()
        elif direction in self.streams:
            self.streams[direction].finish()

    def lost(self, direction: Direction, error: Exception | None) -> None:
        """The connection of one side has ended; the other one ends too, unless the link is half open."""
        of_client = direction is Direction.TO_SERVER
        if of_client and self._outlives:
            self.streams[direction].finish()
        elif of_client or (error is not None and not self.half_open):
            self.close()

    def pause(self, direction: Direction, *, paused: bool) -> None:
        """Read nothing more from the sender of a direction, or read again."""
        transport = self._transports.get(direction)
        if transport is None or transport.is_closing():
            return
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def close(self) -> None:
        """End both sides; the client gets what was forwarded, and then the end."""
        for stream in self.streams.values():
            stream.drop()
        server = self._transports.get(Direction.TO_CLIENT)
        if server is not None:
            server.abort()
        self._transports[Direction.TO_SERVER].close()
        self._owner.closed(self)

    def reset(self) -> None:
        """End both sides; the client gets a reset."""
        for stream in self.streams.values():
            stream.drop()
        for transport in self._transports.values():
            end: socket.socket | None = transport.get_extra_info("socket")
            if end is not None:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        self._owner.closed(self)

    def open_half(self) -> None:
        """End the side of the server; the client does not learn of it, and gets no answer any more."""
        self.half_open = True
        for stream in self.streams.values():
            stream.drop()
        self._transports[Direction.TO_CLIENT].abort()

    def _strike(self, command: Command, armed: ArmedStrike, stream: Stream) -> None:
        match armed.strike.blow:
            case Blow.CLOSE:
                self.close()
            case Blow.RESET:
                self.reset()
            case Blow.DELAY:
                self._owner.loop.call_later(armed.strike.seconds, stream.release)
            case Blow.HOLD | Blow.OUTLIVE:
                self._outlives = armed.strike.blow is Blow.OUTLIVE

        def release() -> None:
            self._owner.loop.call_soon_threadsafe(stream.release)

        armed.fell(command, release)
