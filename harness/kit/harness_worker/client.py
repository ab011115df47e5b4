"""The client of an adapter: answers the calls of the harness, one line of JSON each on standard input and output.

    from harness_worker import client

    class Adapter:
        def submit(self, task): ...      # enqueue one task; return its id in the system under test
        def unfinished(self): ...        # how many submitted tasks are not in a terminal state
        def evidence(self): ...          # yield `client.record(...)` for each task, and `client.queue(...)`

    client.serve(Adapter())

Further methods are optional: `prepare`, `close`, `version`. A method may be a coroutine function (then all of them run
on one event loop), and several `submit` calls may be in progress in different threads at the same time.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from collections.abc import Awaitable, Iterator
from typing import IO, Any

PROTOCOL = 1


class TaskRefused(Exception):
    """The system under test refused a task, so the task certainly has no effect. `submit` raises it."""


def record(task: int, activity: str, status: str, **value: Any) -> dict[str, Any]:
    """The final record of a task; `status` is queued, running, complete, error or canceled."""
    return {"f": "record", "value": {"task": task, "activity": activity, "status": status, **value}}


def transition(task: int, activity: str, status: str, **value: Any) -> dict[str, Any]:
    """One row of the system's log of transitions, with `n` and `at` (seconds) if it has them."""
    return {"f": "transition", "value": {"task": task, "activity": activity, "status": status, **value}}


def queue(*, ready: int, leased: int = 0, scheduled: int = 0, dead: int = 0, **value: Any) -> dict[str, Any]:
    """What is left in the queue: tasks that wait, run, are scheduled, or are dead letters."""
    return {
        "f": "queue",
        "value": {"ready": ready, "leased": leased, "scheduled": scheduled, "dead": dead, **value},
    }


def serve(adapter: Any) -> None:
    """Answer the calls of the harness until the end of standard input; then end this process.

    Anything that a library prints on standard output goes to standard error, so that it cannot break the protocol.
    """
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    server = _Server(adapter, answers)
    for line in requests:
        if line.strip():
            server.accept(line)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a library may still wait for a server that does not answer.
    os._exit(0)


class _Server:
    """The calls in progress, each in a thread of its own, and the output that they share."""

    def __init__(self, adapter: Any, answers: IO[str]) -> None:
        self._adapter = adapter
        self._answers = answers
        self._lock = threading.Lock()
        self._loop = LoopThread()

    def accept(self, line: str) -> None:
        try:
            request = json.loads(line)
            number, name = request["id"], request["call"]
        except (ValueError, KeyError, TypeError):
            self._write({"id": None, "error": f"this is no request: {line.strip()[:200]}"})
            return
        threading.Thread(target=self._answer, args=(number, name, request), daemon=True).start()

    def _answer(self, number: object, name: str, request: dict[str, Any]) -> None:
        try:
            self._write({"id": number, "result": self._result(number, name, request)})
        except Exception as error:  # noqa: BLE001 - the harness reports it as an error of the adapter
            self._write({"id": number, "error": describe(error)})

    def _result(self, number: object, name: str, request: dict[str, Any]) -> object:
        if name == "hello":
            return {"protocol": PROTOCOL, "version": self._optional("version")}
        if name == "submit":
            return [self._submitted(task) for task in request["tasks"]]
        if name == "unfinished":
            return int(self._loop.value(self._adapter.unfinished()))
        if name == "evidence":
            for operation in self._loop.values(self._adapter.evidence()):
                self._write({"id": number, "operation": operation})
        elif name in ("prepare", "close"):
            self._optional(name)
        else:
            raise ValueError(f"there is no call {name!r}")
        return None

    def _submitted(self, task: dict[str, Any]) -> dict[str, Any]:
        try:
            activity = self._loop.value(self._adapter.submit(task))
        except Exception as error:  # noqa: BLE001 - it is the outcome of this task
            certain = isinstance(error, TaskRefused)
            return {"number": task["number"], "error": describe(error), "certain": certain}
        if activity is None:
            raise ValueError("submit returned None; it has to return the id of the task, or raise")
        return {"number": task["number"], "activity": str(activity)}

    def _optional(self, name: str) -> Any:
        method = getattr(self._adapter, name, None)
        return self._loop.value(method()) if callable(method) else method

    def _write(self, answer: dict[str, Any]) -> None:
        line = json.dumps(answer, default=str) + "\n"
        with self._lock:
            self._answers.write(line)
            self._answers.flush()


class LoopThread:
    """One event loop in a thread, started for the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Any = None

    def value(self, found: Any) -> Any:
        """The value itself, or the result of the awaitable."""
        if not inspect.isawaitable(found):
            return found
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(_awaited(found), self._loop).result()

    def close(self) -> None:
        """End the loop and its thread."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def values(self, found: Any) -> Iterator[Any]:
        """The items of a collection, of an asynchronous generator, or of the result of an awaitable."""
        if hasattr(found, "__aiter__"):
            found = _collected(found)
        yield from self.value(found)


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


async def _collected(found: Any) -> list[Any]:
    return [item async for item in found]


def describe(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
