"""RESP2 and RESP3, the protocol of Redis: as much of it as is needed to count commands and to find their replies."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from harness.wire.commands import Reply, SeenCommand, Unreadable

# The words of a command that can name it: EVALSHA sha keys key.
_WORDS = 4
_LONGEST_WORD_BYTES = 256
_LONGEST_LINE_BYTES = 65_536

_ARRAY, _PUSH, _ATTRIBUTE = b"*>|"
_SIMPLE, _BULK, _AGGREGATE, _PAIRS = frozenset(b"+-:_#,("), frozenset(b"$=!"), frozenset(b"*~>"), ord("%")

_WITH_SUBCOMMAND = frozenset(
    {b"ACL", b"CLIENT", b"CLUSTER", b"COMMAND", b"CONFIG", b"FUNCTION", b"LATENCY", b"MEMORY", b"OBJECT"}
    | {b"PUBSUB", b"SCRIPT", b"SLOWLOG", b"XGROUP", b"XINFO"}
)
_OF_SCRIPT = frozenset({b"EVALSHA", b"EVALSHA_RO"})
_WITH_SOURCE = frozenset({b"EVAL", b"EVAL_RO"})
_WITHOUT_KEY = frozenset({b"AUTH", b"HELLO", b"ECHO", b"PING", b"SELECT"})
_SUBSCRIBING = frozenset(
    {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"}
)
_FIRST_OF_ARRAY = re.compile(rb"\$\d+\r\n(\w+)\r\n")
_LONGEST_FIRST_BYTES = 24
_PUSHED = frozenset({b"message", b"pmessage", b"smessage"})
_CONFIRMED = frozenset(word.lower() for word in _SUBSCRIBING)
# What differs from one run to the next: ids, numbers, tokens.
_ARBITRARY = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{12,}|\d+")
_LONGEST_KEY = 40


class RespConversation:
    """One connection to Redis."""

    def __init__(self) -> None:
        self.client_name = ""
        self._asked = _Requests()
        self._answered = _Replies()
        self._number = 0
        # Each command without its whole reply, and how many confirmations it still waits for: 0 if it has one reply.
        self._open: deque[list[int]] = deque()

    def refused(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""

    def requests(self, data: bytes) -> list[SeenCommand]:
        found = []
        for words, arguments, start, end in self._asked.feed(data):
            self._number += 1
            verb = words[0].upper()
            self._note(verb, words, arguments)
            found.append(SeenCommand(self._number, redis_name(verb, words), start, end))
        return found

    def replies(self, data: bytes) -> list[Reply]:
        found = []
        for start, end, confirms in self._answered.feed(data):
            # A message that no command asked for, as the second confirmation of UNSUBSCRIBE without channels.
            if not self._open or (confirms and not self._open[0][1]):
                continue
            waiting = self._open[0]
            waiting[1] -= 1
            if waiting[1] <= 0 or not confirms:
                self._open.popleft()
                found.append(Reply(waiting[0], start, end))
        return found

    def _note(self, verb: bytes, words: list[bytes], arguments: int) -> None:
        if verb in _SUBSCRIBING:
            self._answered.subscribes = True
            self._open.append([self._number, max(1, arguments - 1)])
            return
        if verb == b"MONITOR" or (verb == b"CLIENT" and words[1:2] and words[1].upper() == b"REPLY"):
            raise Unreadable("its replies cannot be counted")
        if verb == b"CLIENT" and len(words) > 2 and words[1].upper() == b"SETNAME":
            self.client_name = words[2].decode(errors="replace")
        self._open.append([self._number, 0])


class _Requests:
    """The commands of a client: arrays of bulk strings, or inline commands."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0  # bytes of the present argument
        self._left = 0  # arguments of the present command
        self._arguments = 0
        self._words: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[list[bytes], int, int, int]]:
        """The words, the number of arguments, the start and the end of each command that ends here."""
        offset = len(self._rest)
        text = self._rest + data if offset else data
        position, size, start = 0, len(text), offset
        skip, left, words = self._skip, self._left, self._words
        found = []
        try:
            while position < size:
                if skip:
                    if skip > size - position:
                        skip -= size - position
                        position = size
                        break
                    position += skip
                    skip = 0
                    if not left:
                        found.append((words, self._arguments, max(0, start - offset), position - offset))
                    continue
                end = _line_end(text, position)
                if end < 0:
                    break
                if left:
                    length = int(text[position + 1 : end])
                    if len(words) < _WORDS:
                        if length > _LONGEST_WORD_BYTES:
                            words.append(b"")
                        elif size < end + 4 + length:
                            break  # a short word is read as a whole
                        else:
                            words.append(text[end + 2 : end + 2 + length])
                    left -= 1
                    skip = length + 2
                elif text[position] == _ARRAY:
                    start, words = position, []
                    self._arguments = left = int(text[position + 1 : end])
                elif inline := text[position:end].split():
                    found.append((inline, len(inline), max(0, position - offset), end + 2 - offset))
                position = end + 2
        except ValueError:
            raise Unreadable("not RESP") from None
        self._rest, self._skip, self._left, self._words = text[position:], skip, left, words
        return found


class _Replies:
    """The replies of a server, each with all that is nested in it."""

    def __init__(self) -> None:
        self.subscribes = False
        self._rest = b""
        self._skip = 0
        self._pending = 0  # elements that the present reply still has
        self._counts = True  # whether the present frame is a reply
        self._confirms = False

    def feed(self, data: bytes) -> list[tuple[int, int, bool]]:
        """The start and the end of each reply that ends here, and whether it confirms a subscription."""
        offset = len(self._rest)
        text = self._rest + data if offset else data
        position, size, start = 0, len(text), offset
        skip, pending = self._skip, self._pending
        found = []
        try:
            while position < size:
                if skip:
                    if skip > size - position:
                        skip -= size - position
                        position = size
                        break
                    position += skip
                    skip = 0
                else:
                    end = _line_end(text, position)
                    if end < 0:
                        break
                    kind = text[position]
                    if not pending:
                        if self.subscribes and kind in b"*>" and not self._classify(text, end + 2, kind):
                            break
                        if not self.subscribes:
                            self._counts = kind != _PUSH
                        start, pending = position, 1
                    pending -= 1
                    if kind in _BULK:
                        skip = max(0, int(text[position + 1 : end]) + 2)
                        skip = 0 if skip == 1 else skip  # null
                    elif kind in _AGGREGATE:
                        pending += max(0, int(text[position + 1 : end]))
                    elif kind == _PAIRS:
                        pending += 2 * int(text[position + 1 : end])
                    elif kind == _ATTRIBUTE:
                        pending += 2 * int(text[position + 1 : end]) + 1
                    elif kind not in _SIMPLE:
                        raise Unreadable("not RESP")
                    position = end + 2
                if not pending and not skip:
                    if self._counts:
                        found.append((max(0, start - offset), position - offset, self._confirms))
                    self._counts, self._confirms = True, False
        except ValueError:
            raise Unreadable("not RESP") from None
        self._rest, self._skip, self._pending = text[position:], skip, pending
        return found

    def _classify(self, text: bytes, position: int, kind: int) -> bool:
        """Read the first word of an array or a push of a subscriber; False if there are too few bytes for it."""
        first = text[position : position + _LONGEST_FIRST_BYTES]
        word = _FIRST_OF_ARRAY.match(first)
        if word is None and len(first) < _LONGEST_FIRST_BYTES and first[:1] in (b"", b"$"):
            return False
        name = b"" if word is None else word[1]
        self._confirms = name in _CONFIRMED
        self._counts = self._confirms or (kind != _PUSH and name not in _PUSHED)
        return True


def _line_end(text: bytes, position: int) -> int:
    end = text.find(b"\r\n", position)
    if end < 0 and len(text) - position > _LONGEST_LINE_BYTES:
        raise Unreadable("a line is too long for RESP")
    return end


def redis_name(verb: bytes, words: list[bytes]) -> str:
    """The name of a command in a table: the verb, and its subcommand, its script or its first key.

    What is arbitrary in a key, such as an id, is `*`, so that a command has the same name in each run.
    """
    return " ".join(_parts(verb, words))


def _parts(verb: bytes, words: list[bytes]) -> Iterator[str]:
    yield verb.decode(errors="replace")
    if len(words) < 2 or verb in _WITH_SOURCE or verb in _WITHOUT_KEY:
        return
    word = words[1].decode(errors="replace")
    if verb in _OF_SCRIPT:
        yield word[:8]
    elif verb in _WITH_SUBCOMMAND:
        yield word.upper()
    elif word:
        yield _ARBITRARY.sub("*", word)[:_LONGEST_KEY]
