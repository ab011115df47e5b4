"""The doctor's connection to Redis: it sends commands that read, and no others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from functools import partial
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from harness.doctor.begun_call import begun
from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.environments.redis_connection import (
    RedisConnection,
    RedisFailure,
    Reply,
    Word,
    primary_url,
    sentinel_urls,
)

CONNECT_SECONDS, SENTINEL_SECONDS = 2.0, 0.5
# The first words of each command that the doctor sends; AUTH and SELECT come from the URL.
READING = (
    ("PING",), ("INFO",), ("CONFIG", "GET"), ("SLOWLOG", "GET"), ("TIME",), ("SCAN",),
    ("ZCARD",), ("ZCOUNT",), ("ZSCORE",), ("HLEN",), ("HGETALL",), ("EXISTS",),
)  # fmt: skip
_WITHOUT_LOGIN = ("NOAUTH", "DENIED", "NOPERM")  # the answers to a client that may do nothing


class RedisReader:
    """Reads one server, or the primary that the Sentinels of the URL name."""

    def __init__(self, url: str) -> None:
        """Connect; raises `NoAnswer`."""
        try:
            self._given = url
            self.url = _primary_url(url)
            self._connection = RedisConnection(self.url, timeout=CONNECT_SECONDS)
            self._connection.call("PING")
        except RedisFailure as failure:
            raise NoAnswer("redis", str(failure)) from None
        self._info: dict[str, dict[str, str]] = {}
        self._broken: NoAnswer | None = (
            None  # an answer that is late would be taken for that of the next command
        )

    def calls(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """The answers to commands in order; raises `CannotTell` if the user may not send one of them."""
        for words in commands:
            if not any(tuple(words[: len(known)]) == known for known in READING):
                raise ValueError(f"{words[0]!r} is not a command that the doctor sends")
        if self._broken is not None:
            raise self._broken
        try:
            answers = self._connection.answers(commands)
        except RedisFailure as failure:
            self._broken = NoAnswer("redis", str(failure))
            raise self._broken from None
        for words, answer in zip(commands, answers, strict=True):
            if isinstance(answer, RedisFailure):
                raise CannotTell(f"the server refuses {words[0]!s} ({answer})")
        return cast("list[Reply]", answers)

    def call(self, *words: Word) -> Reply:
        """The answer to one command; raises `CannotTell` if the user may not send it."""
        return self.calls([words])[0]

    def number(self, *words: Word) -> int:
        """The answer of a command that counts."""
        return cast("int", self.call(*words))

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO, asked once."""
        if section not in self._info:
            text = cast("bytes", self.call("INFO", section)).decode("utf-8", "replace")
            fields = (line.partition(":") for line in text.splitlines())
            self._info[section] = {name: value for name, colon, value in fields if colon}
        return self._info[section]

    def setting(self, name: str) -> str:
        """A setting by CONFIG GET; raises `CannotTell` where a managed service forbids that."""
        match self.call("CONFIG", "GET", name):
            case [_, bytes(value)]:
                return value.decode("utf-8", "replace")
        raise CannotTell(f"the server has no setting {name}")

    def clock_offset(self) -> float:
        """Seconds that the server's clock is ahead of this machine's, exact to half a round trip."""
        before = time.time()
        seconds, micros = cast("list[bytes]", self.call("TIME"))
        return int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2

    def round_trip(self, times: int = 9) -> float:
        """Seconds of the median PING."""
        found = []
        for _ in range(times):
            start = time.perf_counter()
            self.call("PING")
            found.append(time.perf_counter() - start)
        return sorted(found)[times // 2]

    def open_without_password(self) -> bool:
        """Whether a client without credentials may send PING; raises `CannotTell` if that cannot be found out."""
        try:
            with RedisConnection(without_login(self.url), timeout=CONNECT_SECONDS) as connection:
                connection.call("PING")
        except RedisFailure as failure:
            if str(failure).startswith(_WITHOUT_LOGIN):
                return False
            raise CannotTell(f"a connection without a password ends ({failure})") from None
        return True

    def quorums(self) -> list[tuple[bool, str]]:
        """What each Sentinel of the URL answers to CKQUORUM, and whether that is a quorum; empty without Sentinels."""
        name, urls = sentinel_urls(self._given)
        with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
            return list(pool.map(lambda url: _quorum(url, name), urls))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _primary_url(url: str) -> str:
    """As `primary_url`, by the first Sentinel that names one; all are asked together, since some may hang."""
    scheme, sentinel, rest = url.partition("+sentinel://")
    if not sentinel:
        return url
    place, mark, query = rest.partition("?")
    login, at, authority = place.rpartition("@")
    hosts, _, path = authority.partition("/")
    asked = [
        begun(
            partial(primary_url, f"{scheme}{sentinel}{login}{at}{host}/{path}{mark}{query}", CONNECT_SECONDS)
        )
        for host in hosts.split(",")
    ]
    with suppress(TimeoutError):
        for answer in as_completed(asked, timeout=CONNECT_SECONDS):
            with suppress(RedisFailure):
                return answer.result()
    raise RedisFailure("no Sentinel names a primary")


def _quorum(url: str, name: str) -> tuple[bool, str]:
    try:
        with RedisConnection(url, timeout=SENTINEL_SECONDS) as sentinel:
            return True, cast("bytes", sentinel.call("SENTINEL", "CKQUORUM", name)).decode("utf-8", "replace")
    except RedisFailure as failure:
        return False, str(failure)


def without_login(url: str) -> str:
    """The URL of a server without user and password."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("username", "password")]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(kept)))
