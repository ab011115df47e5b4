"""The protocol of Postgres, version 3: as much of it as is needed to count commands and to find their replies.

A command is a simple query, an execution of the extended protocol, a function call, or the start of a session. A COPY
is one command with all of its data.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from functools import lru_cache

from harness.wire.commands import Reply, SeenCommand, Unreadable

STARTUP = "STARTUP"
"""The name of the first message of a session, with all that follows until the server is ready."""

_SSL_REQUEST, _GSS_REQUEST, _CANCEL = 80_877_103, 80_877_104, 80_877_102
_TLS_HANDSHAKE = 0x16
_REQUEST_BYTES = 8
_LONGEST_STARTUP_BYTES = 10_000
_LONGEST_MESSAGE_BYTES = 1 << 30
_LENGTH = struct.Struct("!I")
_HEADER = struct.Struct("!cI")
_HEADER_BYTES = 5
# How much of a message is read: the beginning of a statement, and the names of portals and statements.
_STATEMENT_BYTES, _NAMES_BYTES = 4096, 512
_READ = {b"Q": _STATEMENT_BYTES, b"P": _STATEMENT_BYTES, b"B": _NAMES_BYTES, b"E": _NAMES_BYTES}
_OF_COMMAND = frozenset({b"P", b"B", b"D", b"E", b"Q", b"F"})
_CLIENT_KINDS = frozenset(b"BCDEFHPQSXcdfp")
_ENDS = frozenset({b"C", b"I", b"s", b"E"})

_QUERY, _EXECUTION, _SYNC = "query", "execution", "sync"


class PostgresConversation:
    """One connection to Postgres. With `refuses_tls` the wire itself answers that there is no encryption."""

    def __init__(self, *, refuses_tls: bool = True) -> None:
        self.client_name = ""
        self._refuses_tls = refuses_tls
        self._request = self._first = b""  # of the client: a request for encryption, the first message
        self._started = False
        self._asks_tls = False
        self._number = 0
        self._asked, self._answered = _Messages(_READ), _Messages({})
        self._from: int | None = None  # where the present command begins
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        self._open: deque[tuple[str, int]] = deque()
        self._done: list[int] = []  # answered, and the server is not ready for the next query yet
        self._reply_from: int | None = None

    def refused(self, data: bytes) -> tuple[bytes, bytes]:
        """Answer a request for encryption with N, if the wire refuses it."""
        if not self._refuses_tls:
            return data, b""
        self._request += data
        answer = b""
        while len(self._request) >= _REQUEST_BYTES:
            length, code = struct.unpack_from("!II", self._request)
            if length != _REQUEST_BYTES or code not in (_SSL_REQUEST, _GSS_REQUEST):
                self._refuses_tls = False
                return self._request, answer
            self._request = self._request[_REQUEST_BYTES:]
            answer += b"N"
        return b"", answer

    def requests(self, data: bytes) -> list[SeenCommand]:
        found: list[SeenCommand] = []
        before = 0
        if not self._started:
            before, found = self._start(data)
            if not self._started:
                return found
        self._asked.begin(data[before:])
        if self._from is not None:
            self._from = 0
        while (message := self._asked.next()) is not None:
            kind, content, start, end = message
            if kind[0] not in _CLIENT_KINDS:
                raise Unreadable("not a message of a client of Postgres")
            if kind in _OF_COMMAND and self._from is None:
                self._from = start
            name = self._read(kind, content)
            if name is not None:
                self._number += 1
                self._open.append((_EXECUTION if kind == b"E" else _QUERY, self._number))
                found.append(SeenCommand(self._number, name, before + (self._from or 0), before + end))
                self._from = None
            elif kind == b"S":
                self._open.append((_SYNC, 0))
                self._from = None
        return found

    def replies(self, data: bytes) -> list[Reply]:
        shift = 0
        if self._asks_tls and data:
            self._asks_tls = False
            if data[:1] == b"S":
                raise Unreadable("the connection is encrypted")
            shift = int(data[:1] == b"N")
            data = data[shift:]
        self._answered.begin(data)
        self._reply_from = 0
        found = []
        while (message := self._answered.next()) is not None:
            kind, _, start, end = message
            if self._reply_from is None:
                self._reply_from = start
            if kind == b"Z":
                found += [Reply(n, self._reply_from + shift, end + shift) for n in self._ready()]
                self._reply_from = None
            elif kind in _ENDS and (answered := self._answer()) is not None:
                number, settled = answered
                found.append(Reply(number, self._reply_from + shift, end + shift, settled))
                self._reply_from = None
        return found

    def _start(self, data: bytes) -> tuple[int, list[SeenCommand]]:
        """Read the first message; the bytes of this read that belong to it, and the command that it is."""
        earlier = len(self._first)
        self._first += data
        if self._first[:1] == bytes([_TLS_HANDSHAKE]):
            raise Unreadable("the connection is encrypted")
        if len(self._first) < _REQUEST_BYTES:
            return 0, []
        length, code = struct.unpack("!II", self._first[:_REQUEST_BYTES])
        if not _REQUEST_BYTES <= length <= _LONGEST_STARTUP_BYTES:
            raise Unreadable("not the start of a session of Postgres")
        if len(self._first) < length:
            return 0, []
        whole, rest, self._first = self._first[:length], self._first[length:], b""
        if code in (_SSL_REQUEST, _GSS_REQUEST):
            self._asks_tls = True
            after, found = self._start(rest) if rest else (0, [])
            return length - earlier + after, found
        self._started = True
        if code == _CANCEL:
            return length - earlier, []
        options = whole[_REQUEST_BYTES:].split(b"\0")
        named = dict(zip(options[::2], options[1::2], strict=False))
        self.client_name = named.get(b"application_name", b"").decode(errors="replace")
        self._number += 1
        self._open.append((_QUERY, self._number))
        return length - earlier, [SeenCommand(self._number, STARTUP, 0, length - earlier)]

    def _read(self, kind: bytes, content: bytes) -> str | None:
        """Note what a message says; the name of the command that it ends, None if it ends none."""
        match kind:
            case b"Q":
                return sql_name(content.rstrip(b"\0"))
            case b"F":
                return "FUNCTION"
            case b"P":
                name, _, statement = content.partition(b"\0")
                self._statements[name] = sql_name(statement.partition(b"\0")[0])
            case b"B":
                portal, _, rest = content.partition(b"\0")
                self._portals[portal] = self._statements.get(rest.partition(b"\0")[0], "EXECUTE")
            case b"E":
                return self._portals.get(content.partition(b"\0")[0], "EXECUTE")
        return None

    def _answer(self) -> tuple[int, bool] | None:
        """The command that an end of a statement answers, and whether the server is ready with it."""
        if not self._open or self._open[0][0] == _SYNC:
            return None
        kind, number = self._open[0]
        if kind == _QUERY:
            return number, False
        self._open.popleft()
        if any(kind == _SYNC for kind, _ in self._open):
            self._done.append(number)
            return number, False
        return number, True

    def _ready(self) -> list[int]:
        """The commands that the server has ended when it is ready for the next query."""
        done, self._done = self._done, []
        while self._open:
            kind, number = self._open.popleft()
            if kind != _SYNC:
                done.append(number)
            if kind != _EXECUTION:
                break
        return done


class _Messages:
    """The messages in a stream of bytes; `reads` says how many bytes of each kind are read, the others are skipped."""

    def __init__(self, reads: dict[bytes, int]) -> None:
        self._reads = reads
        self._text = b""
        self._position = self._offset = self._start = 0
        self._skip = -1  # bytes of the present message, -1 between messages
        self._kind = self._content = b""

    def begin(self, data: bytes) -> None:
        """Continue with more bytes; positions count from the first of them."""
        rest = self._text[self._position :]
        self._offset = len(rest)
        self._text = rest + data if rest else data
        self._position = self._start = 0

    def next(self) -> tuple[bytes, bytes, int, int] | None:
        """Kind, read content, start and end of the next message that ends here; None if no other one does."""
        left = len(self._text) - self._position
        if self._skip < 0:
            if left < _HEADER_BYTES:
                return None
            kind, length = _HEADER.unpack_from(self._text, self._position)
            length -= _LENGTH.size
            if not 0 <= length <= _LONGEST_MESSAGE_BYTES:
                raise Unreadable("not a message of Postgres")
            wanted = min(length, self._reads.get(kind, 0))
            if left < _HEADER_BYTES + wanted:
                return None
            self._start = self._position
            self._position += _HEADER_BYTES
            self._content = self._text[self._position : self._position + wanted]
            self._kind, self._skip = kind, length
            left -= _HEADER_BYTES
        if left < self._skip:
            self._skip -= left
            self._position += left
            return None
        self._position += self._skip
        self._skip = -1
        start, end = max(0, self._start - self._offset), self._position - self._offset
        self._start = self._position
        return self._kind, self._content, start, end


_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_CHANGE = re.compile(
    r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO)\s+(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE
)
_SOURCE = re.compile(r"\bFROM\s+(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE)
_CALL = re.compile(r"^\s*SELECT\s+(?:\*\s+FROM\s+)?([\w.\"]+)\s*\(", re.IGNORECASE)
_COPY = re.compile(r"^\s*COPY\s+([\w.\"]+)", re.IGNORECASE)
# FOR UPDATE SKIP LOCKED, ON CONFLICT DO UPDATE SET
_NOT_A_CHANGE = frozenset({"SET", "SKIP", "NOWAIT", "OF", "LIMIT"})


@lru_cache(maxsize=1024)
def sql_name(statement: bytes) -> str:
    """The name of a statement in a table: its verbs, each with its table: `UPDATE activity + INSERT log`."""
    text = _COMMENT.sub(" ", statement.decode(errors="replace")).strip()
    verb = text.split(None, 1)[0].upper().rstrip(";") if text.strip(";") else "EMPTY"
    changes = [
        f"{found[1].split()[0].upper()} {_bare(found[2])}"
        for found in _CHANGE.finditer(text)
        if found[2].upper() not in _NOT_A_CHANGE
    ]
    if changes:
        return " + ".join(dict.fromkeys(changes))
    for pattern in (_CALL, _COPY, _SOURCE):
        if (found := pattern.search(text)) is not None:
            return f"{verb} {_bare(found[1])}"
    return verb


def _bare(name: str) -> str:
    return name.replace('"', "")
