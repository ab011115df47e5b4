"""A connection to Redis or Valkey for the probes and faults of the harness; it needs the standard library only.

The harness installs no Redis client, so that it forces no version of one on the environment of a target. The protocol
is RESP2. URLs are those of the Redis clients: `redis://`, `rediss://` (TLS) and `unix://`, with a percent-encoded
username and password, a database number, and the `ssl_*` options of redis-py.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

Word = str | bytes | int
Reply = bytes | int | None | list["Reply"]

_PORT, _SENTINEL_PORT = 6379, 26379
_OF_SENTINELS = "sentinel_"  # options of a URL for the Sentinels and not for the server
_CHUNK = 65536  # bytes
_NOT_RESP = "the answer is not RESP; check that the URL is that of a Redis server"


class RedisFailure(Exception):
    """The server is unreachable, closed the connection, or refused a command; the message contains no secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisAddress:
    """What a URL says: a host and port or the `path` of a Unix socket, credentials, database, and TLS context."""

    host: str = "localhost"
    port: int = _PORT
    path: str | None = None
    username: str = ""
    password: str = ""
    database: int = 0
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL; raises `RedisFailure` without the URL in its message, because it may contain a password."""
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, keep_blank_values=True))
            local = parts.scheme == "unix"
            number = options.get("db") or ("" if local else parts.path.strip("/")) or "0"
            return cls(
                host=unquote(parts.hostname or options.get("host") or "localhost"),
                port=parts.port or int(options.get("port") or _PORT),
                path=unquote(parts.path) if local else None,
                username=unquote(parts.username or "") or options.get("username", ""),
                password=unquote(parts.password or "") or options.get("password", ""),
                database=int(number),
                tls=_tls(options) if parts.scheme == "rediss" else None,
            )
        except (ValueError, OSError):
            raise RedisFailure(
                "the Redis URL cannot be read; write redis://user:password@host:port/database, percent-encoded"
            ) from None


class RedisConnection:
    """One connection; each call waits at most `timeout` seconds for each part of an answer (None: without limit).

    A URL `redis+sentinel://` leads to the primary of that moment.
    """

    def __init__(self, url: str, *, timeout: float | None = None) -> None:
        """Connect, authenticate and select the database of the URL; raises `RedisFailure`."""
        address = RedisAddress.of(primary_url(url, timeout))
        self._received = bytearray()
        self._socket = _connected(address, timeout)
        try:
            if address.username or address.password:  # a user without a password too, as redis-py does
                self.call("AUTH", *filter(None, (address.username,)), address.password)
            if address.database:
                self.call("SELECT", address.database)
        except BaseException:
            self.close()
            raise

    def call(self, *words: Word) -> Reply:
        """Send one command and return its answer; raises `RedisFailure`."""
        return self.calls([words])[0]

    def calls(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send commands together and return their answers in order; raises `RedisFailure` for the first refusal."""
        answers = self.answers(commands)
        for answer in answers:
            if isinstance(answer, RedisFailure):
                raise answer
        return cast("list[Reply]", answers)

    def answers(self, commands: Sequence[Sequence[Word]]) -> list[Reply | RedisFailure]:
        """`calls` with the refusals among the answers; raises `RedisFailure` if the connection breaks."""
        try:
            self._socket.sendall(b"".join(map(_encoded, commands)))
            return [self._answer() for _ in commands]
        except TimeoutError:
            raise RedisFailure("Timeout reading from the server") from None
        except OSError as error:
            raise RedisFailure(f"the connection broke: {error.strerror or type(error).__name__}") from None
        except ValueError:  # a length or number that is none
            raise RedisFailure(_NOT_RESP) from None

    def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send commands in MULTI and EXEC and return their answers in order; raises `RedisFailure`."""
        answers = self.calls([("MULTI",), *commands, ("EXEC",)])[-1]
        return answers if isinstance(answers, list) else []

    def keys(self) -> list[bytes]:
        """Every key of the database, by SCAN; raises `RedisFailure`."""
        found: dict[bytes, None] = {}
        cursor = b"0"
        while True:
            cursor, page = cast("tuple[bytes, list[bytes]]", self.call("SCAN", cursor, "COUNT", 1000))
            found.update(dict.fromkeys(page))
            if cursor == b"0":
                return list(found)

    def info(self, section: str) -> dict[str, str]:
        """The fields of a section of INFO; raises `RedisFailure`."""
        text = cast("bytes", self.call("INFO", section)).decode("utf-8", "replace")
        fields = (line.partition(":") for line in text.splitlines())
        return {name: value for name, colon, value in fields if colon}

    def setting(self, name: str) -> bytes | None:
        """The value of a setting, None if the server has none of this name; raises `RedisFailure`."""
        match self.call("CONFIG", "GET", name):
            case [_, bytes(value)]:
                return value
        return None

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> Reply | RedisFailure:
        line = self._line()
        kind, rest = line[:1], line[1:]
        match kind:
            case b"+":
                return rest
            case b"-":
                return RedisFailure(rest.decode("utf-8", "replace"))
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._bytes(int(rest))
            case b"*":
                return None if rest == b"-1" else self._array(int(rest))
        raise RedisFailure(_NOT_RESP)

    def _array(self, count: int) -> Reply | RedisFailure:
        # Every item is read before the first refusal is returned, so that the next answer begins where it should.
        items = [self._answer() for _ in range(count)]
        refusals = (item for item in items if isinstance(item, RedisFailure))
        return next(refusals, cast("Reply", items))

    def _line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._receive()
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    def _bytes(self, size: int) -> bytes:
        while len(self._received) < size + 2:
            self._receive()
        value = bytes(self._received[:size])
        del self._received[: size + 2]
        return value

    def _receive(self) -> None:
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise RedisFailure("the server closed the connection")
        self._received += chunk


def primary_url(url: str, timeout: float | None = None) -> str:
    """The URL of the primary that the Sentinels of a URL name now; any other URL as it is. Raises `RedisFailure`.

    The form is that of agentexec: `redis+sentinel://:password@host:port,host:port/name/0?sentinel_password=...`.
    """
    name, sentinels = sentinel_urls(url)
    if not sentinels:
        return url
    for sentinel in sentinels:
        with suppress(RedisFailure):
            with RedisConnection(sentinel, timeout=timeout) as asked:
                match asked.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name):
                    case [bytes(found), bytes(port)]:
                        return _on_primary(url, f"{found.decode()}:{port.decode()}")
    raise RedisFailure("no Sentinel names a primary")


def sentinel_urls(url: str) -> tuple[str, list[str]]:
    """The name of the primary and the URLs of the Sentinels in a URL; without Sentinels an empty name and list."""
    scheme, _, rest = url.partition("+sentinel://")
    place, _, query = rest.partition("?")
    hosts, _, path = place.rpartition("@")[2].partition("/")
    of_sentinels = {
        key: quote(value, safe="") for key, value in parse_qsl(query) if key.startswith(_OF_SENTINELS)
    }
    account = ":".join(of_sentinels.get(f"{_OF_SENTINELS}{part}", "") for part in ("username", "password"))
    # A port beside the host counts more than that of the query.
    options = f"{_common_options(query)}&port={_SENTINEL_PORT}"
    urls = [f"{scheme}://{account}@{host}?{options}" for host in hosts.split(",")]
    return (unquote(path.partition("/")[0]), urls) if rest else ("", [])


def _on_primary(url: str, server: str) -> str:
    scheme, _, rest = url.partition("+sentinel://")
    place, _, query = rest.partition("?")
    login, at, authority = place.rpartition("@")
    database = authority.partition("/")[2].partition("/")[2]
    return f"{scheme}://{login}{at}{server}/{database or 0}?{_common_options(query)}"


def _common_options(query: str) -> str:
    return urlencode([(key, value) for key, value in parse_qsl(query) if not key.startswith(_OF_SENTINELS)])


def _connected(address: RedisAddress, timeout: float | None) -> socket.socket:
    try:
        if address.path is not None:
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(timeout)
            plain.connect(address.path)
            return plain
        plain = socket.create_connection((address.host, address.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return address.tls.wrap_socket(plain, server_hostname=address.host) if address.tls else plain
    except TimeoutError:
        raise RedisFailure("Timeout connecting to the server") from None
    except OSError as error:
        raise RedisFailure(f"cannot connect: {error.strerror or type(error).__name__}") from None


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    """The TLS context of the options `ssl_cert_reqs`, `ssl_check_hostname`, `ssl_ca_certs`, `ssl_certfile`, ..."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    lax = options.get("ssl_cert_reqs", "required").lower() in ("none", "cert_none")
    context.check_hostname = not lax and options.get("ssl_check_hostname", "true").lower() not in (
        "false",
        "0",
        "no",
    )
    context.verify_mode = ssl.CERT_NONE if lax else ssl.CERT_REQUIRED
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    return context


def _encoded(words: Sequence[Word]) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
