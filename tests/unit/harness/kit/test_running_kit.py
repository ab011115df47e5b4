"""Running activities by the files of the workers: those of open runs in processes that live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.kit.harness_worker import running_activities


def lines(*operations: tuple[str, str]) -> str:
    return "".join(
        json.dumps({"type": kind, "f": "run", "value": {"activity": activity}}) + "\n"
        for kind, activity in operations
    )


def test_a_run_without_its_end_in_a_process_that_lives_is_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path))
    (tmp_path / f"worker-{ended.pid}.jsonl").write_text(lines(("invoke", "killed")))
    own = lines(
        ("invoke", "done"), ("invoke", "begun"), ("ok", "done"), ("invoke", "again"), ("info", "again")
    )
    hello = json.dumps({"type": "info", "f": "hello", "value": {}}) + "\n"
    (tmp_path / f"worker-{os.getpid()}.jsonl").write_text(hello + own + '{"type": "inv')
    assert running_activities() == {"begun"}
