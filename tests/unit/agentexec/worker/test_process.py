"""The life of a worker process."""

from __future__ import annotations

import subprocess
import sys

from agentexec.worker.protocol import ExitCode


def test_a_defect_of_the_start_leaves_its_traceback() -> None:
    """The process ends itself, before the interpreter would write it."""
    code = "from agentexec.worker.process import end_with; end_with({})"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == ExitCode.FAILED
    assert "Traceback" in ended.stderr
    assert "KeyError: 'sys_path'" in ended.stderr
