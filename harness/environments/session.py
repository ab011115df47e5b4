"""A session: the id and folder of one run, and the removal of all its processes, containers and files."""

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

_REAPER_EXIT_SECONDS = 10.0
_ENGINE_PASS_SECONDS = 0.05

# The open sessions of this process, oldest first.
_open_sessions: list[Session] = []
_outer_mark = os.environ.get(reaper.VARIABLE)


class Session:
    """The resources of one run; open it with `Session.open`.

    While it is open, `HARNESS_SESSION` is set in this process and marks every child process as the session's. `close`
    removes everything that is marked; if the runner dies first, the reaper does.
    """

    def __init__(
        self, *, session_id: str, folder: Path, process: subprocess.Popen[bytes], write_end: int
    ) -> None:
        self.id = session_id
        self.folder = folder
        self._reaper = process
        self._write_end: int | None = write_end
        self._owner = os.getpid()

    @classmethod
    def open(cls) -> Session:
        """Create the folder and start the reaper; raises `EnvironmentUnavailable` if that fails."""
        session_id = secrets.token_hex(8)
        try:
            # The name is short, because the path of a Unix socket is limited to about 100 bytes.
            folder = Path(tempfile.gettempdir()) / f"{reaper.FOLDER_PREFIX}{secrets.token_hex(4)}"
            # The reaper starts first, so that the folder is removed even if the runner is killed right after mkdir.
            process, write_end = _start_reaper(session_id, folder)
            try:
                folder.mkdir(mode=0o700)
            except BaseException:
                os.close(write_end)
                process.wait()
                raise
        except OSError as error:
            raise EnvironmentUnavailable(
                f"No temporary folder can be created: {error}. Set TMPDIR to a folder that can be written to."
            ) from error
        if os.geteuid() == 0:
            # Servers that run as another user must be able to enter it.
            folder.chmod(0o711)
        session = cls(session_id=session_id, folder=folder, process=process, write_end=write_end)
        _open_sessions.append(session)
        _mark_children()
        atexit.register(session.close)
        return session

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._write_end is None

    def environment(self) -> dict[str, str]:
        """Environment variables that mark a child process as the session's."""
        return {reaper.VARIABLE: self.id}

    def uses_engine(self, url: str) -> None:
        """Note that the Docker engine at `url` (empty: the default one) will have containers of the session.

        Must be called before the first container is created.
        """
        (self.folder / reaper.ENGINE_MARKER).write_text(url, "utf-8")

    def require_reaper(self) -> None:
        """Raise `EnvironmentUnavailable` if the reaper does not run: a crash would then leave processes behind."""
        code = self._reaper.poll()
        if code is not None:
            raise EnvironmentUnavailable(
                f"The reaper, which cleans up after a crash, ended with code {code}. "
                "Check that psutil is installed for the Python that runs the harness."
            )

    def close(self) -> None:
        """Remove every process, container and file of the session and end the reaper; may be called twice.

        Raises `EnvironmentUnavailable` if the Docker engine of its containers does not answer, or if a process does not
        end; the reaper continues then.
        """
        if self._write_end is None or self._owner != os.getpid():
            return
        write_end, self._write_end = self._write_end, None
        atexit.unregister(self.close)
        _open_sessions.remove(self)
        _mark_children()
        try:
            self._clean()
            with contextlib.suppress(BrokenPipeError):
                os.write(write_end, reaper.CLEANED)
        finally:
            # The pipe is closed also after an error, so that the reaper finishes the work.
            os.close(write_end)
        self._await_reaper()

    def _clean(self) -> None:
        if not reaper.kill_until_gone(lambda: reaper.processes_of(self.id, self.folder)):
            raise EnvironmentUnavailable(
                f"A process of session {self.id} does not end. Look for processes with {reaper.VARIABLE}={self.id}."
            )
        reaper.release_shared_memory(self.folder)
        reaper.remove_memory_groups(self.folder)
        engine = reaper.engine_of(self.folder)
        if engine is not None:
            self._remove_containers(engine)
        reaper.remove_folder(self.folder)

    def _remove_containers(self, engine: str) -> None:
        from docker.errors import DockerException

        deadline = time.monotonic() + reaper.PATIENCE_SECONDS
        try:
            while reaper.remove_containers(self.id, engine) and time.monotonic() < deadline:
                time.sleep(_ENGINE_PASS_SECONDS)
        except DockerException as error:
            raise EnvironmentUnavailable(
                "The Docker engine stopped answering, so containers may be left. Once it answers again, remove them: "
                f"docker ps -aq --filter label={reaper.LABEL}={self.id} | xargs docker rm -fv"
            ) from error

    def _await_reaper(self) -> None:
        try:
            self._reaper.wait(_REAPER_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()

    def _detach_in_child(self) -> None:
        # A forked child with the write end would keep the session alive after the runner's death.
        if self._write_end is not None:
            os.close(self._write_end)
            self._write_end = None


def _start_reaper(session_id: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    read_end, write_end = os.pipe()
    pid, started = reaper.identity(os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", reaper.__file__, session_id, str(folder), str(pid), repr(started)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Its own process group, so that Ctrl-C and signals to the runner's group do not reach it.
            start_new_session=True,
            # Not marked as a member of this session or of an outer one, so that no sweep ends it.
            env={**os.environ, reaper.VARIABLE: f"reaper-of-{session_id}"},
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return process, write_end


def _mark_children() -> None:
    mark = _open_sessions[-1].id if _open_sessions else _outer_mark
    if mark is None:
        os.environ.pop(reaper.VARIABLE, None)
    else:
        os.environ[reaper.VARIABLE] = mark


def _detach_in_child() -> None:
    for session in _open_sessions:
        session._detach_in_child()
    _open_sessions.clear()


os.register_at_fork(after_in_child=_detach_in_child)
