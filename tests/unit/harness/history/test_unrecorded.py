"""A process that cannot write leaves a mark: its missing lines accuse no system under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harness.kit
from harness.checkers import evidence
from harness.checkers.base import Verdict
from harness.errors import HarnessError
from harness.history import History, OperationType, Recorder
from harness.history.unrecorded import MARK, mark, reason, reserve
from harness.run.judging import judge
from harness.scenario import registry

# Prints its process id, then records until it cannot.
WORKER = """
import os, pathlib, resource, sys
from harness.history import OperationType, Recorder
recorder = Recorder.for_worker(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(os.getpid(), flush=True)
try:
    while True:
        recorder.record(OperationType.OK, "run", task=1, padding="x" * 61)
except OSError as error:
    print(error, flush=True)
    recorder.record(OperationType.FAIL, "run", task=1)
"""


# The same with the worker kit, which has no dependencies.
KIT = """
import os, resource, sys
sys.path.insert(0, sys.argv[3])
os.environ["HARNESS_HISTORY"] = sys.argv[1]
from harness_worker.recording import WorkerFile
file = WorkerFile(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
while True:
    file.record("ok", "run", {"task": 1, "padding": "x" * 61})
"""


@pytest.mark.parametrize("limit", [4096, 4097, 6000])
def test_a_worker_of_the_kit_leaves_the_mark_too(limit: int, tmp_path: Path) -> None:
    reserve(tmp_path)
    kit = Path(harness.kit.__file__).parent
    command = [sys.executable, "-c", KIT, str(tmp_path), str(limit), str(kit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "OSError" in done.stderr
    assert (reason(tmp_path) or "").startswith("worker-")
    assert History.load(tmp_path).problems[0].startswith("operations are missing: worker-")


def fill(folder: Path, limit: int) -> tuple[int, str]:
    reserve(folder)
    command = [sys.executable, "-c", WORKER, str(folder), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    pid, said = done.stdout.splitlines()
    assert "RecordingFailed" in done.stderr, "the second failure is an exception too"
    return int(pid), said


@pytest.mark.parametrize("limit", [4096, 4097, 6000])
def test_a_worker_that_cannot_write_is_named_even_if_a_fault_killed_it(limit: int, tmp_path: Path) -> None:
    pid, said = fill(tmp_path, limit)
    assert f"worker-{pid}.jsonl cannot be written" in said
    assert "Free some space" in said
    recorder = Recorder(tmp_path / "nemesis.jsonl", process="nemesis")
    recorder.record(OperationType.INFO, "kill-worker", fault=1, phase="inject", kind="kill", pids=[pid])
    recorder.close()
    history = History.load(tmp_path)
    assert history.problems[0].startswith(f"operations are missing: worker-{pid}.jsonl: ")
    result = evidence()(history)
    assert result.verdict is Verdict.UNKNOWN
    assert "operations are missing" in result.summary


def test_a_loss_in_such_a_history_is_not_certain(tmp_path: Path) -> None:
    client = Recorder(tmp_path / "client.jsonl", process="client")
    client.record(OperationType.INVOKE, "enqueue", task=1)
    client.record(OperationType.OK, "enqueue", task=1, activity="a1")
    client.close()
    witness = Recorder(tmp_path / "witness.jsonl", process="postgres")
    witness.record(OperationType.INFO, "record", task=1, activity="a1", status="running", attempt=1, fence=1)
    witness.close()
    scenario = registry.scenario("kill-pool")
    assert judge(scenario, History.load(tmp_path))["delivery"].verdict is Verdict.INVALID
    mark(tmp_path, "worker-1.jsonl: No space left on device")
    assert judge(scenario, History.load(tmp_path))["delivery"].verdict is Verdict.UNKNOWN


def test_the_first_reason_stays_and_an_empty_mark_is_none(tmp_path: Path) -> None:
    assert reason(tmp_path) is None
    reserve(tmp_path)
    assert reason(tmp_path) is None
    assert History.load(tmp_path).problems == (f"{tmp_path} holds no operation",)
    mark(tmp_path, "ä" * 1000)
    size = (tmp_path / MARK).stat().st_size
    mark(tmp_path, "later")
    assert (reason(tmp_path) or "").startswith("ääää")
    assert size == 512


def test_a_recorder_that_cannot_make_its_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").mkdir()
    with pytest.raises(HarnessError, match=r"w\.jsonl cannot be written \(Is a directory\)"):
        Recorder(tmp_path / "w.jsonl", process="w")
    assert reason(tmp_path) == "w.jsonl: Is a directory"
