"""One run's own corner of the machine: an id, a folder, and the promise that nothing of it outlives the run."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.environments import reaper
from harness.errors import EnvironmentUnavailable

_REAPER_LEAVES = 10.0
_ENGINE_INTERVAL = 0.05

# Opened in this process and not closed yet, oldest first.
_open_sessions: list[Session] = []
_outer_mark = os.environ.get(reaper.VARIABLE)


class Session:
    """What belongs to one run; open it with `Session.open`.

    While it is open, `HARNESS_SESSION` is set in this process, so that every child started meanwhile is marked as the
    session's. `close` removes all that is marked; should the runner not come to it, the reaper does.
    """

    def __init__(
        self, *, session_id: str, folder: Path, process: subprocess.Popen[bytes], lifeline: int
    ) -> None:
        self.id = session_id
        self.folder = folder
        self._reaper = process
        self._lifeline: int | None = lifeline
        self._owner = os.getpid()

    @classmethod
    def open(cls) -> Session:
        """Make the folder and start the reaper; raises `EnvironmentUnavailable` where that cannot be done."""
        session_id = secrets.token_hex(8)
        try:
            # Short, because a Unix socket's path may have no more than about 100 characters.
            folder = Path(tempfile.gettempdir()) / f"{reaper.FOLDER_PREFIX}{secrets.token_hex(4)}"
            # The reaper first: a runner that is killed right after it made the folder must not leave it behind.
            process, lifeline = _start_reaper(session_id, folder)
            try:
                folder.mkdir(mode=0o700)
            except BaseException:
                os.close(lifeline)
                process.wait()
                raise
        except OSError as error:
            raise EnvironmentUnavailable(
                f"No temporary folder can be made: {error}. Point TMPDIR to a folder that can be written to."
            ) from error
        if os.geteuid() == 0:
            # Servers that refuse to run as root must be able to pass through.
            folder.chmod(0o711)
        session = cls(session_id=session_id, folder=folder, process=process, lifeline=lifeline)
        _open_sessions.append(session)
        _mark_children()
        atexit.register(session.close)
        return session

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._lifeline is None

    def environment(self) -> dict[str, str]:
        """Variables that mark a child process as the session's, to add to its environment."""
        return {reaper.VARIABLE: self.id}

    def uses_engine(self, url: str) -> None:
        """Note that containers will carry the session's label on the Docker engine at `url` (empty: the usual one).

        To be called before the first container is created.
        """
        (self.folder / reaper.ENGINE_MARKER).write_text(url)

    def require_reaper(self) -> None:
        """Raise `EnvironmentUnavailable` when the reaper is not running, for then a crash would leave things behind."""
        code = self._reaper.poll()
        if code is not None:
            raise EnvironmentUnavailable(
                f"The process that cleans up after a crash ended by itself with code {code}. "
                "Check that psutil is installed for the Python that runs the harness."
            )

    def close(self) -> None:
        """Remove every process, container and file of the session, and the reaper; may be called twice.

        Raises `EnvironmentUnavailable` when the Docker engine that holds its containers no longer answers, or when a
        process does not die; the reaper keeps trying then.
        """
        if self._lifeline is None or self._owner != os.getpid():
            return
        lifeline, self._lifeline = self._lifeline, None
        atexit.unregister(self.close)
        _open_sessions.remove(self)
        _mark_children()
        try:
            self._clean()
            with contextlib.suppress(BrokenPipeError):
                os.write(lifeline, reaper.CLEANED)
        finally:
            # Whatever happened above, from here on the reaper takes care.
            os.close(lifeline)
        self._await_reaper()

    def _clean(self) -> None:
        if not reaper.kill_until_gone(lambda: reaper.processes_of(self.id, self.folder)):
            raise EnvironmentUnavailable(
                f"A process of session {self.id} does not die. Look for processes with {reaper.VARIABLE}={self.id}."
            )
        reaper.release_shared_memory(self.folder)
        engine = reaper.engine_of(self.folder)
        if engine is not None:
            self._remove_containers(engine)
        reaper.remove_folder(self.folder)

    def _remove_containers(self, engine: str) -> None:
        from docker.errors import DockerException

        deadline = time.monotonic() + reaper.PATIENCE
        try:
            while reaper.remove_containers(self.id, engine) and time.monotonic() < deadline:
                time.sleep(_ENGINE_INTERVAL)
        except DockerException as error:
            raise EnvironmentUnavailable(
                "The Docker engine stopped answering, so containers may be left. Once it answers again, remove them: "
                f"docker ps -aq --filter label={reaper.LABEL}={self.id} | xargs docker rm -fv"
            ) from error

    def _await_reaper(self) -> None:
        try:
            self._reaper.wait(_REAPER_LEAVES)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()

    def _let_go_in_child(self) -> None:
        # A forked child that held the lifeline would keep the session alive after the runner's death.
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def _start_reaper(session_id: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    read_end, lifeline = os.pipe()
    pid, started = reaper.identity(os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", reaper.__file__, session_id, str(folder), str(pid), repr(started)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A session of its own, so that Ctrl-C and signals to the runner's process group do not reach it.
            start_new_session=True,
            # Not a member of its own session (nor of an outer one), so that no sweep ends it.
            env={**os.environ, reaper.VARIABLE: f"reaper-of-{session_id}"},
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(read_end)
    return process, lifeline


def _mark_children() -> None:
    mark = _open_sessions[-1].id if _open_sessions else _outer_mark
    if mark is None:
        os.environ.pop(reaper.VARIABLE, None)
    else:
        os.environ[reaper.VARIABLE] = mark


def _let_go_in_child() -> None:
    for session in _open_sessions:
        session._let_go_in_child()
    _open_sessions.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
