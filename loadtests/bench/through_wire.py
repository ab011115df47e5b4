"""Commands a second through the wire, beside the same clients without it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from harness.environments.redis_connection import RedisConnection
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure

_COMMANDS = 40_000
_BATCH = 20
_CLIENTS = 4
_PROGRAM = """
import sys
from harness.wire import Wire
wire = Wire(sys.argv[1], protocol=sys.argv[2] or None)
print(wire.url, flush=True)
sys.stdin.read()
wire.close()
"""


def wire(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """Commands that the wire carries in a second of one core: bytes alone, commands counted, and without pipelines."""
    url, commands = environment.endpoints.redis_url, environment.scaled(_COMMANDS)

    def measured(protocol: str, batch: int) -> tuple[float, ...]:
        return tuple(_rate(url, protocol, commands, batch) for _ in range(repeats))

    kinds = (
        ("wire, counted commands in pipelines", "redis", _BATCH),
        ("wire, counted commands one at a time", "redis", 1),
        ("wire without a protocol, one at a time", "", 1),
    )
    return [
        BenchResult(
            figure=Figure(name=name, unit="/s of CPU", values=measured(protocol, batch)),
            note=f"{_CLIENTS} clients, {batch} commands a round trip",
        )
        for name, protocol, batch in kinds
    ]


def _rate(url: str, protocol: str, commands: int, batch: int) -> float:
    """Commands by the processor time that the process of a wire takes for them."""
    with _process(url, protocol) as (through, used):
        _send(through, _CLIENTS * batch, batch)
        before = used()
        _send(through, commands, batch)
        return commands / (used() - before)


@contextmanager
def _process(url: str, protocol: str) -> Iterator[tuple[str, Callable[[], float]]]:
    """The URL of a wire in a process of its own, and a function for its processor time in seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, url, protocol],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    try:
        through = process.stdout.readline().strip()
        assert urlsplit(through).port
        observed = psutil.Process(process.pid)
        yield through, lambda: sum(observed.cpu_times()[:2])
    finally:
        process.communicate()


def _send(url: str, commands: int, batch: int) -> None:
    def client(_: int) -> None:
        with RedisConnection(url) as redis:
            sent = [("INCR", "bench-wire")] * batch
            for _ in range(commands // batch // _CLIENTS):
                redis.calls(sent)

    with ThreadPoolExecutor(_CLIENTS) as clients:
        list(clients.map(client, range(_CLIENTS)))
