"""One shell for the whole path, as a reader has it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ENDED = "exit code of the command:"


class Shell:
    """A shell that is started by a command, and takes one line after the other."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, line: str) -> tuple[int, str]:
        """Exit code and output of one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\necho {shlex.quote(ENDED)} $?\n")
        self.process.stdin.flush()
        output = ""
        for read in self.process.stdout:
            before, ended, code = read.partition(ENDED)
            output += before
            if ended:
                return int(code), output
        raise AssertionError(f"the shell ended:\n{output}")

    def close(self) -> None:
        """End it with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
