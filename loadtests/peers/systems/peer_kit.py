"""What the module of every peer shares: its settings, the work of a task, and the calls of a producer.

It runs in the environment of the peer and needs nothing but the standard library. A task has a number. Its handler
sends one command to Redis, RPUSH of "NUMBER NANOSECONDS" to the list `{queue}:began`, and does not wait for the answer:
so the handler costs the same in every peer, with and without an event loop. A task with `work` also sleeps for so many
seconds and then sends its number to `{queue}:ended`.

A producer answers calls, one JSON line each, on its standard streams.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import unquote, urlsplit

AT_ONCE = 100
BATCH = 1_000
WAIT_SECONDS = 0.0005
PATIENCE_SECONDS = 30.0


class settings:
    """What the measurement gives to the processes of a peer."""

    queue = os.environ["PEER_QUEUE"]
    variant = os.environ["PEER_VARIANT"]
    redis_url = os.environ["PEER_REDIS_URL"]
    database_url = os.environ["PEER_DATABASE_URL"]
    folder = Path(os.environ["PEER_FOLDER"])
    workers = int(os.environ["PEER_WORKERS"])


class Redis:
    """A blocking connection that sends commands as they are."""

    def __init__(self):
        url = urlsplit(settings.redis_url)
        self.socket = socket.create_connection((url.hostname, url.port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.password:
            self.send("AUTH", *([url.username] if url.username else []), unquote(url.password))
            self.answer()
        self.send("SELECT", url.path.strip("/") or "0")
        self.answer()

    def send(self, *words):
        """Send a command."""
        parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
        self.socket.sendall("".join(parts).encode())

    def answer(self):
        """The answer to a command that returns one line."""
        line = b""
        while not line.endswith(b"\r\n"):
            part = self.socket.recv(1024)
            if not part:
                raise ConnectionError("Redis closed the connection")
            line += part
        if line.startswith(b"-"):
            raise RuntimeError(line.decode())
        return line[1:-2].decode()

    def number(self, *words):
        """The answer to a command that returns a number."""
        self.send(*words)
        return int(self.answer())


class _Worker:
    """The connection of a worker process to Redis. A forked child makes its own."""

    lock = threading.Lock()
    process = 0
    has_arrived = False
    redis = None


def arrive():
    """Say that this worker process has its first task, or is about to take it, and wait while the gate is closed.

    It blocks the whole thread, so that an event loop does not take further tasks meanwhile.
    """
    with _Worker.lock:
        if not _Worker.has_arrived:
            (settings.folder / f"arrived-{os.getpid()}").touch()
            while (settings.folder / "closed").exists():
                time.sleep(0.002)
            _Worker.has_arrived = True


def _connected():
    arrive()
    with _Worker.lock:
        if _Worker.process != os.getpid():
            redis = Redis()
            redis.send("CLIENT", "REPLY", "OFF")
            _Worker.redis, _Worker.process = redis, os.getpid()


def _note(what, task):
    if _Worker.process != os.getpid():
        _connected()
    with _Worker.lock:
        _Worker.redis.send("RPUSH", f"{settings.queue}:{what}", f"{task['number']} {time.monotonic_ns()}")


def run(task):
    """Do the work of a task in a thread."""
    _note("began", task)
    if task["work"]:
        time.sleep(task["work"])
        _note("ended", task)


async def run_async(task):
    """Do the work of a task in an event loop."""
    _note("began", task)
    if task["work"]:
        await asyncio.sleep(task["work"])
        _note("ended", task)


def task_of(number, work=0.0):
    """The argument of a task."""
    return {"number": number, "work": work}


class Producer:
    """The base of the producers. Each method may be a coroutine function.

    `enqueue` enqueues one task. A producer with concurrent callers sets `is_concurrent`, one with batches defines
    `enqueue_many`. `unfinished` returns how many tasks wait or run, or have ended without a record of it. `run` runs
    the event loop. `redis` is a connection of the kit, for producers that count what their queue has in Redis.
    """

    is_concurrent = False
    run = staticmethod(asyncio.run)
    enqueue_many = None
    redis = None

    def connect(self):
        """Connect to the stores."""

    def install(self):
        """Create what the peer needs in its stores; called once, before the first task."""

    def close(self):
        """Disconnect."""


def serve(producer):
    """Answer calls until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a peer prints goes to the log
    producer.run(_serve(producer, answers))


async def _serve(producer, answers):
    calls = _Calls(producer)
    while line := await asyncio.to_thread(sys.stdin.readline):
        call = json.loads(line)
        try:
            answer = await getattr(calls, call.pop("call"))(**call)
        except Exception as error:  # noqa: BLE001 - a peer may raise anything
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


async def _done(result):
    return await result if hasattr(result, "__await__") else result


class _Calls:
    """The calls of the measurement."""

    def __init__(self, producer):
        self.producer = producer
        self.redis = producer.redis = Redis()

    async def prepare(self, install):
        """Connect the producer; says in which ways it enqueues."""
        await _done(self.producer.connect())
        if install:
            await _done(self.producer.install())
        ways = {
            "one": True,
            "together": self.producer.is_concurrent,
            "batch": self.producer.enqueue_many is not None,
        }
        return {"ways": [way for way, has in ways.items() if has]}

    async def enqueue(self, way, first, most, seconds):
        """Enqueue up to `most` tasks for up to so many seconds, in one way."""
        step, enqueue = {
            "one": (1, self._one),
            "together": (AT_ONCE, self._together),
            "batch": (BATCH, self._batch),
        }[way]
        number, end = first, first + most
        began = time.monotonic()
        while number < end and time.monotonic() - began < seconds:
            upper = min(end, number + step)
            await enqueue(number, upper)
            number = upper
        return {"count": number - first, "seconds": time.monotonic() - began}

    async def _one(self, first, _):
        result = self.producer.enqueue(task_of(first))
        if hasattr(result, "__await__"):
            await result

    async def _together(self, first, last):
        await asyncio.gather(*[self.producer.enqueue(task_of(number)) for number in range(first, last)])

    async def _batch(self, first, last):
        await _done(self.producer.enqueue_many([task_of(number) for number in range(first, last)]))

    async def work(self, first, count, work):
        """Enqueue tasks that take some seconds."""
        for number in range(first, first + count):
            await _done(self.producer.enqueue(task_of(number, work)))
        return {}

    async def pick_up(self, first, count, interval):
        """Enqueue one task each `interval` seconds, or each as soon as the handler of the last one has begun.

        Returns for each its number, and when the call began and when it returned.
        """
        began, calls, start = f"{settings.queue}:began", [], time.monotonic()
        length = self.redis.number("LLEN", began)
        for index in range(count):
            if interval:
                await asyncio.sleep(max(0.0, start + index * interval - time.monotonic()))
            task = task_of(first + index)
            called = time.monotonic_ns()
            await _done(self.producer.enqueue(task))
            calls.append((task["number"], called, time.monotonic_ns()))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not interval and self.redis.number("LLEN", began) <= length + index:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"task {task['number']} did not begin within {PATIENCE_SECONDS:g} s")
                await asyncio.sleep(WAIT_SECONDS)
        return {"calls": calls}

    async def unfinished(self):
        """How many tasks have no recorded end."""
        return {"unfinished": await _done(self.producer.unfinished())}

    async def close(self):
        """Disconnect."""
        await _done(self.producer.close())
        return {}
