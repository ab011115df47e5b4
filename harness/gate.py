"""Named gates synchronize the runner with handlers inside worker processes, without sleeps.

A handler that has begun arrives at a gate and waits there. The runner waits for the arrival, acts at this moment (it
kills that worker, for example), and opens the gate for all present and later handlers. A worker that is killed at a
gate closes its connection, and the keeper removes it. The handlers' end is `gates` of the worker kit.

The protocol uses a Unix domain socket: the handler sends one line of JSON (`gate`, `pid`, `task`, and `can`, the
actions that it can carry out), and the keeper replies with the line `open` or with an action. Every wait has a deadline
in seconds.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import GateError
from harness.history.figures import counted

_OPEN = "open"
_LONGEST_LINE_BYTES = 4096
# The kernel's limit for the path of a socket is 104 bytes on macOS and 108 on Linux, including the final null byte.
_LONGEST_PATH_BYTES = 100

DEFAULT_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GateArrival:
    """A handler that waits at a gate, with its worker's process id and the number of its task.

    `can` are the actions that it carries out if it is asked to.
    """

    gate: str
    pid: int
    task: int
    can: frozenset[str] = frozenset()


class GateKeeper:
    """Tracks waiting handlers and opens gates, in the runner. A context manager, safe to use from any thread."""

    def __init__(self, address: Path) -> None:
        if len(os.fsencode(address)) > _LONGEST_PATH_BYTES:
            raise GateError(
                f"{address} is too long for a Unix socket ({_LONGEST_PATH_BYTES} bytes at most). "
                "Set TMPDIR to a folder with a shorter name."
            )
        self.address = str(address)
        self._changed = threading.Condition()
        self._opened: set[str] = set()
        self._given_up: dict[str, str] = {}
        self._all_given_up: str | None = None
        self._passing: dict[int, str] = {}
        self._all_open = False
        self._waiting: dict[socket.socket, GateArrival] = {}
        self._received: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.address)
        self._listener.listen(128)
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="gate-keeper", daemon=True)
        self._thread.start()

    def wait_for(
        self, gate: str, *, count: int = 1, within: float = DEFAULT_DEADLINE_SECONDS
    ) -> list[GateArrival]:
        """Wait until `count` handlers are at a gate and return all of them.

        Raises `GateError` after `within` seconds, or as soon as the gate is given up.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._none_comes(gate) is not None or len(self._at(gate)) >= count, timeout=within
            )
            if (why := self._none_comes(gate)) is not None:
                raise GateError(why)
            if len(self._at(gate)) < count:
                raise GateError(
                    f"{len(self._at(gate))} of {counted(count, 'handler')} arrived at gate {gate!r} within "
                    f"{within:g} s. "
                    "See the pool's log for workers that did not start or did not take the task."
                )
            return self._at(gate)

    def give_up(self, gate: str, why: str) -> None:
        """Let `wait_for` raise `GateError` with this sentence: no handler will come to the gate."""
        with self._changed:
            self._given_up[gate] = why
            self._changed.notify_all()

    def give_up_all(self, why: str) -> None:
        """Let each `wait_for`, also a later one, raise `GateError` with this sentence: the run ends."""
        with self._changed:
            self._all_given_up = why
            self._changed.notify_all()

    def let_pass(self, pids: Collection[int], why: str) -> None:
        """Let the handlers of these processes pass each gate from now on; a gate that one passes is given up."""
        with self._changed:
            self._passing |= dict.fromkeys(pids, why)
            self._release()
            self._changed.notify_all()

    def waiting(self) -> list[GateArrival]:
        """All handlers that wait at any gate now."""
        with self._changed:
            return list(self._waiting.values())

    def open(self, gate: str) -> None:
        """Open a gate for all handlers that wait at it or arrive later."""
        with self._changed:
            self._opened.add(gate)
            self._release()

    def act(self, gate: str, action: str) -> None:
        """Let the handlers that wait at a gate carry out an action; then they wait there again, unless they ended.

        `action` is a word of `harness_worker.actions`, with its arguments. Raises `GateError` if no handler waits
        there that can do it.
        """
        word = action.partition(" ")[0]
        with self._changed:
            able = [end for end, one in self._waiting.items() if one.gate == gate and word in one.can]
            if not able:
                raise GateError(
                    f"no handler at gate {gate!r} can {word} when it is asked to. "
                    "Use the worker kit, or a fault that needs no help of the handler."
                )
            for end in able:
                _answer(end, action)

    def open_all(self) -> None:
        """Open every gate permanently."""
        with self._changed:
            self._all_open = True
            self._release()

    def close(self) -> None:
        """Close all connections; a handler that still waits raises `GateError`. May be called twice."""
        if not self._thread.is_alive():
            return
        self._waker.sendall(b"x")
        self._thread.join()
        for end in (self._listener, self._waker, self._woken, *self._received):
            end.close()
        Path(self.address).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _none_comes(self, gate: str) -> str | None:
        return self._given_up.get(gate, self._all_given_up)

    def _at(self, gate: str) -> list[GateArrival]:
        return [arrival for arrival in self._waiting.values() if arrival.gate == gate]

    def _release(self) -> None:
        for end, arrival in list(self._waiting.items()):
            is_open = self._all_open or arrival.gate in self._opened
            if not is_open and arrival.pid not in self._passing:
                continue
            if not is_open:
                self._given_up[arrival.gate] = self._passing[arrival.pid]
            del self._waiting[end]
            _answer(end, _OPEN)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    end = key.fileobj
                    if end is self._woken:
                        return
                    if end is self._listener:
                        connection, _ = self._listener.accept()
                        with self._changed:
                            self._received[connection] = b""
                        selector.register(connection, selectors.EVENT_READ)
                    elif isinstance(end, socket.socket) and not self._receive(end):
                        selector.unregister(end)
                        end.close()

    def _receive(self, end: socket.socket) -> bool:
        """Read from a handler's connection; False if the connection is closed or violates the protocol."""
        try:
            received = end.recv(_LONGEST_LINE_BYTES)
        except OSError:
            received = b""
        with self._changed:
            line = self._received[end] = self._received[end] + received
            arrival = _parse(line) if line.endswith(b"\n") else None
            if not received or len(line) > _LONGEST_LINE_BYTES or (line.endswith(b"\n") and arrival is None):
                self._received.pop(end)
                self._waiting.pop(end, None)
                self._changed.notify_all()
                return False
            if arrival is not None:
                self._waiting[end] = arrival
                self._release()
                self._changed.notify_all()
            return True


def _answer(end: socket.socket, reply: str) -> None:
    try:
        end.sendall(reply.encode() + b"\n")
    except OSError:  # killed after its arrival: the serving thread will read the end of file
        return


def _parse(line: bytes) -> GateArrival | None:
    try:
        match json.loads(line):
            case {"gate": str(gate), "pid": int(pid), "task": int(task), **others}:
                can = others.get("can", ())
                known = (word for word in can if isinstance(word, str)) if isinstance(can, list) else ()
                return GateArrival(gate=gate, pid=pid, task=task, can=frozenset(known))
    except ValueError:
        return None
    return None
