"""A server as a child process of the session: launched, asked, frozen, killed and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypedDict

import psutil

from harness.environments import ports, probe, reaper
from harness.environments.base import Service
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable
from harness.masking import masked

_PATIENCE = 60.0
_POLITE = 10.0
_INTERVAL = 0.01
_PORT_ATTEMPTS = 8
_TAKEN = "address already in use"


class Credentials(TypedDict, total=False):
    """Arguments for `subprocess` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


class _PortTaken(Exception):
    """Somebody bound the port between its choice and the server's start."""


class LocalServer(ABC):
    """One server process with its children, whose working folder is `home`, below the session's folder.

    `begin` launches without waiting, `finish` waits until the server answers, so that several start side by side.
    """

    service: Service
    polite_signal: signal.Signals

    def __init__(self, session: Session, port: int | None) -> None:
        self._session = session
        self._wanted_port = port
        self.home = session.folder / self.service
        self.log_file = self.home / "log"
        self.port = 0
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder, once."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground on `self.port`."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the server listens, with its credentials."""

    def begin(self) -> None:
        """Prepare and launch; raises `EnvironmentUnavailable`."""
        self.home.mkdir()
        self.prepare()
        self._launch_on(self._wanted_port or ports.free_port())

    def finish(self) -> None:
        """Wait for an answer, on another port when somebody took the chosen one; raises `EnvironmentUnavailable`."""
        for _ in range(_PORT_ATTEMPTS):
            try:
                self._await_answer()
            except _PortTaken:
                if self._wanted_port is not None:
                    break
                self._launch_on(ports.free_port())
            else:
                return
        raise self._port_taken()

    def kill(self) -> None:
        """SIGKILL the server and all its children; returns when they are gone."""
        if self._process is not None:
            # The parent first: it would replace its children.
            self._process.kill()
            self._process.wait()
        if not reaper.kill_until_gone(lambda: reaper.processes_in(self.home)):
            raise EnvironmentUnavailable(
                f"The {self.service} server does not die of SIGKILL. Look at `dmesg`."
            )

    def restart(self) -> None:
        """Start again on the same port and data, after a polite end when it still runs; returns when it answers."""
        self._end()
        self._launch_on(self.port)
        self._answer_on_this_port()

    def pause(self) -> None:
        """Stop every process of the server with SIGSTOP; returns when all have stopped."""
        self._signal_parent(signal.SIGSTOP)
        deadline = time.monotonic() + _POLITE
        while running := [
            p for p in reaper.processes_in(self.home) if p.info["status"] != psutil.STATUS_STOPPED
        ]:
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(
                    f"The {self.service} server does not stop on SIGSTOP. Look at `dmesg`."
                )
            time.sleep(_INTERVAL)

    def resume(self) -> None:
        """Let every process go on with SIGCONT; returns when the server answers."""
        self._continue()
        self._answer_on_this_port()

    def log(self) -> str:
        """Everything the server wrote so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def forget(self) -> None:
        """Take the exit status of the process, after the session killed it."""
        if self._process is not None:
            self._process.wait(_POLITE)

    def environment(self) -> dict[str, str]:
        """The server's environment: ours without what would redirect it, and with the session's mark."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))
        }
        return {**kept, "LC_ALL": "C", **self._session.environment()}

    def credentials(self) -> Credentials:
        """The user to run as, where it must not be the present one."""
        return {}

    def _launch_on(self, port: int) -> None:
        self.port = port
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.credentials(),
            )

    def _answer_on_this_port(self) -> None:
        try:
            self._await_answer()
        except _PortTaken:
            raise self._port_taken() from None

    def _await_answer(self) -> None:
        self.version = probe.wait_until_answers(
            self.service, self.url, patience=_PATIENCE, check=self._check_alive
        )

    def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = [
                line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()
            ]
        if any(_TAKEN in line.lower() for line in lines):
            raise _PortTaken
        code = self._process.returncode if self._process is not None else None
        last = masked(lines[-1]) if lines else "it wrote no log"
        raise EnvironmentUnavailable(
            f"The {self.service} server ended with code {code} while it started: {last}. "
            "Correct what its log names, or use the containers backend."
        )

    def _port_taken(self) -> EnvironmentUnavailable:
        return EnvironmentUnavailable(
            f"Port {self.port} on 127.0.0.1 is taken, so the {self.service} server cannot use it. "
            "End the process that holds it, or choose another port."
        )

    def _end(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self._continue()
            process.send_signal(self.polite_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLITE)
        self.kill()

    def _continue(self) -> None:
        for process in reaper.processes_in(self.home):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _signal_parent(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise EnvironmentUnavailable(f"The {self.service} server does not run. Restart it first.")
        self._process.send_signal(number)


def make_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    file.touch(mode=0o600)
    file.write_text(text)
