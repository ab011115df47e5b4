"""Base class of a server as a child process: launch, freeze, kill, and restart on the same port."""

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

LOG_FILE = "log"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.01
_PORT_ATTEMPTS = 8
_TAKEN = "address already in use"


class Credentials(TypedDict, total=False):
    """Arguments of `subprocess.Popen` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


class _PortTaken(Exception):
    """Another process bound the port between its choice and the server's start."""


class LocalServer(ABC):
    """One server process with its children; its working folder `home` is in the session's folder.

    `begin` launches it without waiting and `finish` waits until it answers, so that several servers start in parallel.
    `name` is that of the folder, for a service of several servers.
    """

    service: Service
    stop_signal: signal.Signals

    def __init__(self, session: Session, port: int | None, *, name: str = "") -> None:
        self._session = session
        self._wanted_port = port
        self.home = session.folder / (name or self.service)
        self.log_file = self.home / LOG_FILE
        self.port = 0
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @abstractmethod
    def prepare(self) -> None:
        """Create the data folder; called once."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground on `self.port`."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of the server with credentials."""

    def ask(self, service: Service, url: str) -> str:
        """The name and version of the server; raises `probe.NotAnswering` as long as it does not answer."""
        return probe.ask(service, url)

    def begin(self) -> None:
        """Prepare and launch; raises `EnvironmentUnavailable`."""
        self.home.mkdir()
        self.prepare()
        self._launch_on(self._wanted_port or ports.free_port())

    def finish(self) -> None:
        """Wait until the server answers, on another port if its port is taken; raises `EnvironmentUnavailable`."""
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
        """SIGKILL the server and all its children; returns once they are gone."""
        if self._process is not None:
            # The parent first, because it replaces its children.
            self._process.kill()
            self._process.wait()
        if not reaper.kill_until_gone(lambda: reaper.processes_in(self.home)):
            raise EnvironmentUnavailable(f"The {self.service} server does not end on SIGKILL. See `dmesg`.")

    def shut_down(self) -> None:
        """Stop the server with `stop_signal`, a frozen one too; SIGKILL after `_STOP_SECONDS`."""
        process = self._process
        if process is not None and process.poll() is None:
            self._continue()
            process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        self.kill()

    def restart(self) -> None:
        """Restart on the same port and data, stopping the server first if it runs; returns once it answers."""
        self.shut_down()
        self._launch_on(self.port)
        self._answer_on_this_port()

    def pause(self) -> None:
        """SIGSTOP every process of the server; returns once all have stopped."""
        self._signal_parent(signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_SECONDS
        while running := [
            p for p in reaper.processes_in(self.home) if p.info["status"] != psutil.STATUS_STOPPED
        ]:
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(
                    f"The {self.service} server does not stop on SIGSTOP. See `dmesg`."
                )
            time.sleep(_POLL_SECONDS)

    def resume(self) -> None:
        """SIGCONT every process of the server; returns once it answers."""
        self._continue()
        self._answer_on_this_port()

    def log(self) -> str:
        """The log of the server so far."""
        return self.log_file.read_text("utf-8", errors="replace") if self.log_file.exists() else ""

    def forget(self) -> None:
        """Collect the exit status of the process after the session killed it."""
        if self._process is not None:
            self._process.wait(_STOP_SECONDS)

    def environment(self) -> dict[str, str]:
        """The server's environment: that of this process without server settings, with the session's mark."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))
        }
        return {**kept, "LC_ALL": "C", **self._session.environment()}

    def credentials(self) -> Credentials:
        """The user to run as; empty for the current user."""
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
                # SIGXFSZ stays ignored: a write beyond a limit of files fails, as on a full disk.
                restore_signals=False,
                **self.credentials(),
            )

    def _answer_on_this_port(self) -> None:
        try:
            self._await_answer()
        except _PortTaken:
            raise self._port_taken() from None

    def _await_answer(self) -> None:
        self.version = probe.wait_until_answers(
            self.service, self.url, patience=_START_SECONDS, check=self._check_alive, query=self.ask
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
    file.write_text(text, "utf-8")
