"""`python -m harness.llm.bench`: how late the endpoint writes the events of many streams at once, on one core.

The endpoint runs in a process of its own on one core, and the streams are read on another. Each event has its due time
in a comment, so that its lateness is known where it is written and where it is read. Exit codes: 0 within the bound, 1
later than it, 2 not measurable.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

from harness.command_line import Parser, above_zero, positive
from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, EnvironmentUnavailable, HarnessError
from harness.llm.formats import DUE_COMMENT
from harness.llm.meter import Lateness
from harness.llm.serving import Endpoint, allow_many_connections

_END = b"0\r\n\r\n"
_CONNECTIONS_AT_ONCE = 50
_MOST = 3_600


@dataclass(slots=True)
class StreamCounts:
    """What the reading side saw."""

    lateness: Lateness = field(default_factory=Lateness)
    events: int = 0
    ended: int = 0
    unread: int = 0


class _StreamReader(asyncio.Protocol):
    """One stream: sends its request, and notes when each event arrives."""

    def __init__(self, request: bytes, counts: StreamCounts) -> None:
        self._request, self._counts = request, counts
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for part in data.split(DUE_COMMENT)[1:]:
            self._counts.events += 1
            try:
                due = float(part[: part.index(b"\n")])
            except ValueError:  # the comment is in two segments
                self._counts.unread += 1
            else:
                self._counts.lateness.add(now - due)
        # The end may come in two segments.
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END:
            self._counts.ended += 1
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.done.set_result(None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the figures, and return the exit code."""
    parser = Parser(prog="python -m harness.llm.bench", description="Lateness of many streams on one core.")
    parser.add_argument("--streams", type=positive, default=1_000, help="streams at once (default: 1000)")
    parser.add_argument(
        "--rate", type=above_zero(1_000), default=10.0, help="events a second and stream (default: 10)"
    )
    parser.add_argument("--seconds", type=positive, default=20, help="length of each stream (default: 20)")
    parser.add_argument(
        "--bound-ms", type=above_zero(60_000), default=20.0, help="the most for p99 (default: 20)"
    )
    try:
        return _measure(parser.parse_args(arguments))
    except HarnessError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code


def _measure(options: Namespace) -> int:
    allow_many_connections()
    with _endpoint(options) as (endpoint, process):
        before = process.cpu_times()
        started = time.monotonic()
        counts = asyncio.run(_read(endpoint, options))
        wall, after = time.monotonic() - started, process.cpu_times()
        written = endpoint.meter()["lateness_ms"]
    read = counts.lateness.to_value()
    expected = options.streams * max(1, round(options.rate * options.seconds))
    busy = (after.user + after.system - before.user - before.system) / wall
    print(f"{options.streams} streams, {options.rate:g} events a second each, {wall:.1f} s")
    print(f"events: {counts.events} read, {counts.ended} streams ended; endpoint: {busy:.0%} of its core")
    for side, found in (("written", written), ("read", read)):
        figures = ", ".join(f"{name} {found.get(name, 0):.1f}" for name in ("p50", "p99", "p99.9", "max"))
        print(f"lateness {side}, ms: {figures}")
    if counts.events < expected or counts.ended < options.streams:
        print(
            f"bench: not measurable: {counts.events} of at least {expected} events arrived; try fewer streams.",
            file=sys.stderr,
        )
        return EXIT_UNKNOWN
    return EXIT_VALID if max(written["p99"], read["p99"]) <= options.bound_ms else EXIT_INVALID


@contextmanager
def _endpoint(options: Namespace) -> Iterator[tuple[Endpoint, psutil.Process]]:
    """An endpoint in a process of its own, on the last core; this process keeps the others."""
    # Systems without this call leave the choice to their scheduler.
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    command = [sys.executable, "-m", "harness", "llm", "serve", "--port", "0"]
    # Every stream has begun before the first event of the first one is due.
    command += ["--first-token", str(_start_seconds(options)), "--per-token", str(1 / options.rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            if cores:
                os.sched_setaffinity(process.pid, cores[-1:])
                os.sched_setaffinity(0, cores[:-1] or cores)
            line = process.stdout.readline().strip() if process.stdout else ""
            if not line:
                raise EnvironmentUnavailable("The endpoint did not start; see its message above.")
            yield Endpoint(line.removesuffix("/v1")), psutil.Process(process.pid)
        finally:
            process.terminate()
            if cores:
                os.sched_setaffinity(0, cores)


def _start_seconds(options: Namespace) -> float:
    """Seconds from the request to the first event."""
    return 0.5 + float(options.streams) / 1_000


async def _read(endpoint: Endpoint, options: Namespace) -> StreamCounts:
    counts = StreamCounts()
    address = urlsplit(endpoint.root)
    tokens = max(1, round(options.rate * options.seconds))
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Go."}]})
    head = {
        "Host": address.netloc,
        "Authorization": f"Bearer {endpoint.api_key}",
        "X-Simulated-Timing": "1",
        "X-Simulated-Completion-Tokens": str(tokens),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    request = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
    loop = asyncio.get_running_loop()
    readers = []
    for number in range(options.streams):
        _, reader = await loop.create_connection(
            lambda: _StreamReader(request, counts), str(address.hostname), int(address.port or 80)
        )
        readers.append(reader.done)
        # Streams begin at different times, as those of a real client do, so that their events do not fall together.
        if number % _CONNECTIONS_AT_ONCE == _CONNECTIONS_AT_ONCE - 1:
            await asyncio.sleep(_CONNECTIONS_AT_ONCE / options.streams)
    await asyncio.wait(readers, timeout=2 * (options.seconds + _start_seconds(options)))
    return counts


if __name__ == "__main__":
    sys.exit(main())
