"""The client process of an adapter: calls as lines of JSON on its standard input, answers on its standard output.

A client that ends, does not answer in time, or answers anything else is a mistake of the adapter, `AdapterMistake`, and
never an outcome of a task. A call that the client says has failed raises `TargetFailed`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.errors import AdapterMistake, TargetFailed
from harness.masking import masked
from harness.processes import descendants, is_alive, send
from harness.targets.programs import start_program

PROTOCOL = 1
CALL_SECONDS = 30.0

_LONGEST_LINE_BYTES = 16 * 2**20
_END_SECONDS = 5.0
_SHOWN = 200
_LAST_LINES = 10


@dataclass(kw_only=True, slots=True)
class _PendingCall:
    """A call without an answer so far; `operations` are the lines that came before its answer."""

    answer: Future[Any] = field(default_factory=Future)
    operations: list[Any] = field(default_factory=list)


class AdapterClient:
    """A running client. Safe to use from any thread; `close` ends it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        fork_server: str | None = None,
    ) -> None:
        self._name = name
        self._log = log
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._pending: dict[int, _PendingCall] = {}
        self._calls = 0
        self._failed: str | None = None
        requests, self._requests = _pipe()
        self._answers, answers = _pipe()
        with requests, answers, log.open("ab") as errors:
            try:
                self._process = start_program(
                    command,
                    environment=environment,
                    folder=folder,
                    streams=(requests.fileno(), answers.fileno(), errors.fileno()),
                    fork_server=fork_server,
                )
            except OSError as error:
                self._requests.close()
                self._answers.close()
                raise TargetFailed(
                    f"The client of the adapter {name} cannot be started: {command[0]}: {error.strerror}. "
                    "Check `client` in adapter.toml, and that the program is installed."
                ) from None
        # It starts with the first call, which then fails if the client ended before it or wrote anything.
        self._reader = threading.Thread(target=self._read, name=f"client-of-{name}", daemon=True)

    def pids(self) -> list[int]:
        """The process ids of the client and of all below it; none once it has ended."""
        pid = self._process.pid
        # The id of a process whose exit code was collected may be that of another one.
        has_ended = self._process.returncode is not None or not is_alive(pid)
        return [] if has_ended else [pid, *descendants(pid)]

    def call(self, call: str, within: float | None = None, **fields: Any) -> Any:
        """The result of a call; raises `TargetFailed` if the client fails.

        A client that does not answer within `within` seconds (default: `CALL_SECONDS`) has failed.
        """
        return self._call(call, CALL_SECONDS if within is None else within, fields).answer.result()

    def operations(self, call: str, within: float) -> list[Any]:
        """The operations of a call, without its result; raises `TargetFailed` as `call` does."""
        pending = self._call(call, within, {})
        pending.answer.result()
        return pending.operations

    def close(self) -> None:
        """Ask the client to close, end its input, and kill what is left of it after some seconds."""
        try:
            if self._failed is None:
                self.call("close", _END_SECONDS)
        finally:
            below = descendants(self._process.pid)
            self._end_input()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            send(below, signal.SIGKILL)
            self._reader.join(_END_SECONDS)

    def kill(self) -> None:
        """SIGKILL the client and all below it, without a request to close; returns once it has ended."""
        send(self.pids(), signal.SIGKILL)
        with suppress(TargetFailed):
            self.close()

    def _call(self, call: str, within: float, fields: Mapping[str, Any]) -> _PendingCall:
        pending = _PendingCall()
        with self._lock:
            if self._failed is not None:
                raise self._mistake(f"before the call {call}, {self._failed}")
            self._calls += 1
            number = self._calls
            self._pending[number] = pending
        if number == 1:
            self._reader.start()
        self._write(json.dumps({"id": number, "call": call, **fields}).encode() + b"\n")
        try:
            pending.answer.exception(within)
        except TimeoutError:
            # No further call waits for it: it would fill the pipe to a client that does not read.
            self._fail(f"did not answer within {within:g} s")
        finally:
            with self._lock:
                self._pending.pop(number, None)
        failure = pending.answer.exception()
        if failure is not None:
            what = f"in the call {call}, {failure}"
            raise self._refused(what) if isinstance(failure, _CallFailed) else self._mistake(what)
        return pending

    def _write(self, line: bytes) -> None:
        # If the client has ended, the reader sees the end of its output and fails the call.
        with suppress(OSError, ValueError), self._write_lock:
            self._requests.write(line)
            self._requests.flush()

    def _end_input(self) -> None:
        with suppress(OSError):
            self._requests.close()

    def _read(self) -> None:
        with self._answers as answers:
            while line := answers.readline(_LONGEST_LINE_BYTES):
                wrong = self._accept(line)
                if wrong is not None:
                    self._fail(f"{wrong}: {line[:_SHOWN].decode(errors='replace').strip()}")
                    return
        code = self._process.wait()
        self._fail(f"ended with code {code}")

    def _accept(self, line: bytes) -> str | None:
        """Note an answer; what is wrong with the line, if anything is."""
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            return "wrote a line that is not JSON"
        match answer:
            case {"id": int(number), **rest}:
                with self._lock:
                    pending = self._pending.get(number)
            case {"error": str(error)}:
                return f"refused a call ({error})"
            case _:
                return "wrote a line that is no answer"
        if pending is None:
            # Its call has timed out.
            return None if 0 < number <= self._calls else "answered a call that was not made"
        match rest:
            case {"operation": operation}:
                pending.operations.append(operation)
            case {"error": str(error)}:
                self._settle(pending, error=_CallFailed(f"failed: {error}"))
            case {"result": result}:
                self._settle(pending, result)
            case _:
                return "wrote a line that is no answer"
        return None

    def _fail(self, why: str) -> None:
        with self._lock:
            self._failed = self._failed or why
            pending, self._pending = list(self._pending.values()), {}
        for one in pending:
            self._settle(one, error=_ClientFailed(self._failed))

    def _settle(
        self, pending: _PendingCall, result: object = None, *, error: Exception | None = None
    ) -> None:
        """Give a call its outcome, unless it has one."""
        with self._lock:
            if pending.answer.done():
                return
            if error is None:
                pending.answer.set_result(result)
            else:
                pending.answer.set_exception(error)

    def _refused(self, what: str) -> TargetFailed:
        return TargetFailed(f"The client of the adapter {self._name}, {self._explained(what)}")

    def _mistake(self, what: str) -> AdapterMistake:
        return AdapterMistake(
            f"{AdapterMistake.PREFIX} the client of the adapter {self._name}, {self._explained(what)}"
        )

    def _explained(self, what: str) -> str:
        return f"{masked(what.rstrip('.'))}. {self._last_output()}"

    def _last_output(self) -> str:
        lines = masked(self._log.read_text("utf-8", errors="replace")).strip().splitlines()[-_LAST_LINES:]
        return (
            f"See {self._log.name}; its end: " + "\n".join(lines)
            if lines
            else "It wrote nothing to standard error."
        )


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """The end to read from, and the end to write to."""
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb")


class _CallFailed(Exception):
    """The client answered that a call failed."""


class _ClientFailed(Exception):
    """The client ended, hangs, or wrote anything else than an answer."""
