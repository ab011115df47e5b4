"""The runner with a small target: a breakdown is recorded, faults are healed, pools are stopped, the run is judged."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from harness.checkers import evidence, standard
from harness.checkers.base import Verdict, check_all
from harness.environments.base import Endpoints
from harness.errors import GateError, TargetFailed
from harness.faults.process import KillWorker
from harness.history import History, OperationType
from harness.history.ending import cut_short
from harness.history.promises import Promises
from harness.masking import one_line
from harness.report.verdict_json import verdict_json
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.promised import everything
from tests.support.instant_target import WORKER, Instant, NoFault, Run, Steps, breaking

DEADLOCK = "2026-01-02 03:04:05.678 UTC [42] ERROR:  deadlock detected\n"


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(DEADLOCK, DEADLOCK, Verdict.VALID), (DEADLOCK, 2 * DEADLOCK, Verdict.INVALID)],
)
def test_a_run_with_a_deadlock_in_the_log_of_the_server_is_invalid(
    run: Run, before: str, after: str, verdict: Verdict
) -> None:
    database = Endpoints(database_url="postgresql://127.0.0.1:1/x", redis_url="")
    found = run(Instant(), NoFault(), endpoints=database, log=iter([before, after]))
    assert found.verdict is verdict, found.results
    assert found.results["deadlocks"].verdict is verdict


def test_a_run_in_which_all_goes_well_is_valid(run: Run) -> None:
    target, fault = Instant(), NoFault()
    found = run(target, fault)
    assert found.verdict is Verdict.VALID, found.results
    assert fault.log == ["aim", "inject", "heal"]
    assert target.closed
    assert [op.f for op in found.history.by_process("runner") if op.f != "phase"] == [
        "checkers",
        "clock",
        "promises",
        "drain",
    ]
    assert [op.value["phase"] for op in found.history.where("phase", OperationType.OK)] == [
        "starting the pool",
        "the workload under faults",
        "healing",
        "the drain",
        "stopping the pools",
        "collecting the evidence",
        "the run",
    ]
    assert [op.value["phase"] for op in found.history.by_process("nemesis")] == ["inject", "heal"]
    assert [op.f for op in found.history.by_process("pool-1")] == ["start", "start", "stop", "exit"]
    [end] = found.history.where("exit")
    assert (end.f, end.value) == ("exit", {"pid": target.pools[0].pid, "code": 0})


@dataclass
class InstantOneSlot(Instant):
    """The same target, whose workers promise one slot each."""

    def promises(self, settings: TargetSettings) -> Promises:
        return replace(everything(settings), slots_per_worker=1)


def test_a_target_with_fewer_slots_is_offered_less_and_the_run_says_so(run: Run) -> None:
    steps: list[str] = []
    found = run(InstantOneSlot(), NoFault(), progress=Steps(steps))
    [note] = found.notes
    assert note.startswith(
        "the target promises 1 slots, and the scenario offers work for 4: 100 instead of 400"
    )
    assert f"test, {note}" in steps
    renamed = [one.replace("test", "rotate-redis-password", 1) for one in steps]
    assert [one for one in renamed if one_line(one) != one] == [], "a name is no key before a password"
    assert json.loads(verdict_json([found], written_at="now"))["scenarios"][0]["notes"] == [note]
    assert found.verdict is Verdict.VALID


def test_a_run_without_faults_is_unknown_and_exits_with_2(run: Run) -> None:
    found = run(Instant())
    assert found.verdict is Verdict.UNKNOWN
    assert found.verdict.exit_code == 2
    assert found.error is None
    assert found.results["delivery"].verdict is Verdict.VALID


def test_a_pool_that_does_not_start_is_a_breakdown_and_not_a_verdict(run: Run) -> None:
    target = Instant(broken=breaking("start_pool", TargetFailed("The pool has no handlers. Name some.")))
    found = run(target, NoFault())
    assert found.error == "The pool has no handlers. Name some."
    assert found.verdict is Verdict.UNKNOWN
    assert target.closed


def test_a_target_that_does_not_open_is_a_breakdown_and_not_a_verdict(run: Run) -> None:
    found = run(Instant(broken=breaking("open", TargetFailed("No schema. Make one."))), NoFault())
    assert (found.error, found.verdict) == ("No schema. Make one.", Verdict.UNKNOWN)


@pytest.mark.parametrize("verb", ["submit", "unfinished", "witnesses"])
def test_whatever_breaks_in_the_target_makes_the_run_unknown_at_best(run: Run, verb: str) -> None:
    found = run(Instant(broken=breaking(verb, RuntimeError("a bug"))), NoFault())
    assert found.error is not None
    assert "RuntimeError: a bug" in found.error
    assert found.verdict is Verdict.UNKNOWN


def test_a_breakdown_is_in_the_history_and_a_later_look_at_it_is_unknown_too(
    run: Run, tmp_path: Path
) -> None:
    secret = "postgresql://me:hunter2@127.0.0.1/x is gone"
    run(Instant(broken=breaking("witnesses", TargetFailed(secret))), NoFault())
    [why] = [op.value["why"] for op in History.load(tmp_path).where("breakdown")]
    assert why == "postgresql://me:***@127.0.0.1/x is gone"
    assert evidence()(History.load(tmp_path)).verdict is Verdict.UNKNOWN


@pytest.fixture(params=[8, 16, 24, 36])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on a file system of a few KiB; a machine that mounts none skips the test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root mounts a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_breakdown_with_a_remedy_and_accuses_nothing(run: Run, small_disk: Path) -> None:
    found = run(Instant(forgets=frozenset({7})), NoFault(), history=small_disk)
    assert found.verdict is Verdict.UNKNOWN, found.results
    assert found.error is not None
    assert "Free some space" in found.error
    again = History.load(small_disk)
    assert again.problems[0].startswith("operations are missing: ")


def test_a_fault_that_fails_half_way_is_healed_all_the_same(run: Run) -> None:
    fault = NoFault(fails={"inject": OSError("no permission")})
    found = run(Instant(), fault)
    assert fault.log == ["aim", "inject", "heal"]
    assert [op.value["phase"] for op in found.history.by_process("nemesis")] == ["inject", "heal"]
    assert found.error is not None
    assert "no permission" in found.error
    assert found.verdict is not Verdict.VALID


def test_an_interrupted_run_heals_takes_everything_down_and_stays_interrupted(
    run: Run, tmp_path: Path
) -> None:
    target, fault = Instant(), NoFault(fails={"inject": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(target, fault)
    assert fault.log == ["aim", "inject", "heal"]
    assert target.closed
    assert target.pools
    history = History.load(tmp_path)
    assert history.problems == ()
    assert cut_short(history) == "the run was interrupted by KeyboardInterrupt"
    assert (tmp_path / "seal.json").exists()
    results = check_all(standard(recovery_p99=None), history)
    assert not [name for name, one in results.items() if one.verdict is Verdict.INVALID]


def test_a_fault_whose_victim_never_comes_is_left_out_and_the_next_one_is_tried(run: Run) -> None:
    missed, injected = NoFault(fails={"aim": GateError("no victim")}), NoFault(at=0.6)
    found = run(Instant(), missed, injected)
    assert missed.log == ["aim"]
    assert injected.log == ["aim", "inject", "heal"]
    assert found.error is None


class TakesNothing(Instant):
    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return [Submission(number=task.number, error="no such queue", certain=True) for task in tasks]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (TakesNothing(), "The target acknowledged none of "),
        (
            Instant(broken=breaking("submit", TargetFailed("make(1) raised KeyError. Correct it."))),
            "make(1) ",
        ),
    ],
)
def test_a_target_that_takes_no_task_ends_the_run_before_its_gated_faults_time_out(
    run: Run, target: Instant, said: str
) -> None:
    faults: list[Any] = [KillWorker(at=at, gated=True) for at in (0.3, 0.5, 0.7)]
    result = run(target, *faults)
    assert result.verdict is Verdict.UNKNOWN
    assert str(result.error).startswith(said)
    assert str(result.error).count(". ") == 1
    assert result.seconds < 9.0  # one fault alone waits for its task for 10 s


def test_a_run_that_takes_too_long_reports_it(run: Run) -> None:
    def submit_slowly(verb: str) -> None:
        if verb == "submit":
            stuck.wait(1.0)

    stuck = threading.Event()
    found = run(Instant(broken=submit_slowly), NoFault(), timeout=0.2)
    assert found.error is not None
    assert "within the 0.2 s of the scenario" in found.error
    assert found.verdict is not Verdict.VALID


def test_a_submission_that_hangs_after_the_faults_ends_with_the_time_of_the_run(run: Run) -> None:
    """The last 2 of 40 tasks are submitted after every fault is healed; the session answers them never."""
    target, answered = Instant(), threading.Event()
    submit = target.submit

    def hang(tasks: Sequence[TaskSpec]) -> list[Submission]:
        if tasks[-1].number > 38:
            answered.wait()
        return submit(tasks)

    with (
        patch.object(target, "submit", hang),
        patch("harness.run.driver._LAST_SUBMISSION_SECONDS", 0.5),
    ):
        found = run(target, NoFault(), timeout=3.0)
        answered.set()
    assert found.error is not None
    assert "within the 3 s of the scenario" in found.error
    assert found.verdict is not Verdict.VALID


def test_a_torn_line_of_a_worker_that_was_not_killed_makes_the_run_unknown(run: Run, tmp_path: Path) -> None:
    def tear(verb: str) -> None:
        if verb == "witnesses":
            with (tmp_path / f"worker-{WORKER}.jsonl").open("ab") as file:
                os.write(file.fileno(), b'{"time":1,"pro')

    found = run(Instant(broken=tear), NoFault())
    assert found.results["evidence"].verdict is Verdict.UNKNOWN
    assert found.verdict is Verdict.UNKNOWN


def test_the_history_of_a_run_is_sealed_and_a_file_that_loses_lines_later_is_noticed(
    run: Run, tmp_path: Path
) -> None:
    assert run(Instant(), NoFault()).verdict is Verdict.VALID
    assert History.load(tmp_path).problems == ()
    path = tmp_path / f"worker-{WORKER}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    [problem] = History.load(tmp_path).problems
    assert problem.startswith(f"{path.name}:{len(lines) - 2} is the last whole line")
