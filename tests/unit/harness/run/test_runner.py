"""The runner with a small target: a breakdown is recorded, faults are healed, pools are stopped, the run is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from harness.checkers import evidence, standard
from harness.checkers.adapter import without_mistakes
from harness.checkers.base import Verdict, check_all
from harness.environments.base import Endpoints, ServerVersions
from harness.errors import GateError, TargetFailed
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import KillWorker
from harness.history import History, InjectionKind, Operation, OperationType, Recorder
from harness.history.ending import cut_short
from harness.history.machine import machine_samples
from harness.history.promises import Loss, Promises
from harness.processes import is_alive
from harness.progress import Progress, Quiet
from harness.report.verdict_json import verdict_json
from harness.run.gauge import MachineGauge
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import PoolNeeds, Scenario, ScenarioRun
from harness.scenario.run_plan import patience_of
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.promised import everything
from harness.workloads.numbered_tasks import NumberedTasks

WORKER = 4242424
"""A process id that no process has: the system under test runs its tasks in the runner itself."""


_SLEEP = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print(flush=True); signal.pause()"


class SleepingPool:
    """A parent process that sleeps until SIGTERM."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SLEEP], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        with self.process.stdout as ready:  # else SIGTERM could come before its handler is there
            ready.readline()
        self.pid = self.process.pid

    def worker_pids(self) -> list[int]:
        return [WORKER]

    def wait(self, timeout: float) -> int | None:
        return self.process.wait()

    def log(self) -> str:
        return ""


@dataclass
class Instant:
    """A target that runs each task at once when it is submitted, but for those in `forgets`."""

    forgets: frozenset[int] = frozenset()
    broken: Callable[[str], None] = lambda verb: None
    name: str = "instant"
    pools: list[SleepingPool] = field(default_factory=list)
    closed: bool = False

    def version(self) -> str:
        return "1"

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> Instant:
        self.broken("open")
        self.recorder = Recorder(settings.history / f"worker-{WORKER}.jsonl", process=f"worker-{WORKER}")
        self.tasks: list[TaskSpec] = []
        return self

    def start_pool(self) -> SleepingPool:
        self.broken("start_pool")
        self.pools.append(SleepingPool())
        return self.pools[-1]

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        self.broken("submit")
        for task in tasks:
            self.tasks.append(task)
            if task.number not in self.forgets:
                value: dict[str, Any] = {"task": task.number, "activity": f"a{task.number}", "fence": 1}
                self.recorder.record(OperationType.INVOKE, "run", **value)
                self.recorder.record(OperationType.OK, "run", **value)
        return [Submission(number=task.number, activity=f"a{task.number}") for task in tasks]

    def unfinished(self) -> int:
        self.broken("unfinished")
        return len(self.forgets & {task.number for task in self.tasks})

    def witnesses(self) -> Iterable[Operation]:
        self.broken("witnesses")
        for task in self.tasks:
            value: dict[str, Any] = {"task": task.number, "activity": f"a{task.number}"}
            forgotten = task.number in self.forgets
            yield _info("postgres", "transition", **value, fence=0, n=0, status="queued")
            yield _info("postgres", "transition", **value, fence=1, n=0, status="running")
            if not forgotten:
                yield _info("postgres", "transition", **value, fence=1, n=1, status="complete")
            yield _info("postgres", "record", **value, fence=1, status="running" if forgotten else "complete")
        yield _info("redis", "queue", ready=0, leased=0, scheduled=0, dead=0, known=0)

    def close(self) -> None:
        self.recorder.close()
        self.closed = True


def _info(process: str, f: str, **value: Any) -> Operation:
    return Operation(time=time.monotonic_ns(), process=process, type=OperationType.INFO, f=f, value=value)


@dataclass
class NoFault:
    """A fault without an effect that can fail or be interrupted in each step."""

    log: list[str] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)
    name: str = "no-fault"
    kind: InjectionKind = InjectionKind.OTHER
    at: float = 0.5
    gated: bool = False

    def _step(self, name: str) -> None:
        self.log.append(name)
        if name in self.fails:
            raise self.fails[name]

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        self._step("aim")
        return Aim(pids=(), pool=context.pools.running()[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        self._step("inject")

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        self._step("heal")


@dataclass
class Nowhere:
    """An environment without servers."""

    folder: Path
    name: str = "nowhere"
    versions: ServerVersions = field(default=ServerVersions(postgres="none", redis="none"))
    endpoints: Endpoints = field(default=Endpoints(database_url="", redis_url=""))
    log: Iterator[str] = field(default_factory=lambda: iter(()))

    def logs(self, service: str) -> str:
        """The log of Postgres, another one at each call."""
        return next(self.log, "") if service == "postgres" else ""


class QuietMachine:
    """The gauge of a machine that keeps up, so that no verdict of these tests depends on the real one."""

    lost = 0.0

    def __init__(self, recorder: Recorder) -> None:
        pass

    def __enter__(self) -> QuietMachine:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Steps(Quiet):
    """Keeps each step."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept

    def step(self, text: str) -> None:
        self._kept.append(text)


Run = Callable[..., ScenarioRun]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr("harness.run.runner.MachineGauge", QuietMachine)
    with tempfile.TemporaryDirectory(prefix="hx-") as folder:

        def run(
            target: Instant,
            *faults: NoFault,
            timeout: float = 30.0,
            asked: float | None = None,
            stall: float | None = 0.3,
            work: float = 0.0,
            progress: Progress | None = None,
            history: Path = tmp_path,
            **servers: Any,
        ) -> ScenarioRun:
            scenario = Scenario(
                name="test",
                summary="a test",
                workload=NumberedTasks(rate=400.0, work=(work, work)),
                faults=faults,
                checkers=standard(recovery_p99=None),
                pool=PoolNeeds(workers=1, lease=0.1),
                timeout=timeout,
            )
            environment: Any = Nowhere(folder=Path(folder), **servers)
            try:
                return run_scenario(
                    scenario,
                    environment,
                    target,
                    RunOptions(seed=1, tasks=40, stall=stall, timeout=asked),
                    history_folder=history,
                    progress=progress or Quiet(),
                )
            finally:
                assert list(Path(folder).iterdir()) == [], "the run's working folder is still there"
                assert not [pool for pool in target.pools if is_alive(pool.pid)], "a pool still runs"

        yield run


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
    assert f"test: {note}" in steps
    assert json.loads(verdict_json([found], written_at="now"))["scenarios"][0]["notes"] == [note]
    assert found.verdict is Verdict.VALID


def test_a_run_without_faults_is_unknown_and_exits_with_2(run: Run) -> None:
    found = run(Instant())
    assert found.verdict is Verdict.UNKNOWN
    assert found.verdict.exit_code == 2
    assert found.error is None
    assert found.results["delivery"].verdict is Verdict.VALID


def test_a_drain_in_which_nothing_moves_ends_and_the_task_is_stuck(run: Run) -> None:
    found = run(Instant(forgets=frozenset({7})), NoFault())
    assert found.error is None
    assert found.verdict is Verdict.INVALID
    [stuck] = found.results["delivery"].counterexamples
    assert (stuck["kind"], stuck["task"]) == ("stuck", 7)


def test_a_drain_that_runs_into_the_time_out_says_nothing_about_the_tasks_that_are_left(
    run: Run, tmp_path: Path
) -> None:
    found = run(Instant(forgets=frozenset({7})), NoFault(), timeout=1.5, stall=60.0)
    assert found.error is not None
    assert "1 task was still unfinished after the 1.5 s" in found.error
    assert not [name for name, one in found.results.items() if one.verdict is Verdict.INVALID]
    assert found.verdict is Verdict.UNKNOWN
    [unfinished] = found.results["delivery"].counterexamples
    assert (unfinished["kind"], unfinished["task"]) == ("unfinished", 7)
    again = check_all(standard(recovery_p99=None), History.load(tmp_path))
    assert {name: one.verdict for name, one in again.items()} == {
        name: one.verdict for name, one in found.results.items()
    }


@dataclass
class Late(Instant):
    """A target that reports its last task as unfinished for `lasts` seconds after the drain began."""

    lasts: float = 1.0
    shows_movement: bool = False
    drained: float | None = None

    def unfinished(self) -> int:
        self.drained = self.drained or time.monotonic()
        return int(time.monotonic() < self.drained + self.lasts)

    def movement(self) -> object:
        return time.monotonic() if self.shows_movement else None


def test_a_drain_in_which_only_the_target_shows_progress_goes_on(run: Run) -> None:
    def unfinished(found: ScenarioRun) -> list[int]:
        return [op.value["unfinished"] for op in found.history.where("drain")]

    assert unfinished(run(Late(shows_movement=True), NoFault())) == [0]


@dataclass
class InTransit(Instant):
    """A target whose last task is in none of its stores when the drain looks first."""

    looks: list[int] = field(default_factory=lambda: [0, 1, 0, 0])

    def unfinished(self) -> int:
        return self.looks.pop(0)


def test_a_task_that_is_in_no_store_for_a_moment_is_waited_for(run: Run) -> None:
    """Celery took the last task from its list and had not noted it yet: its pool was stopped before it ran."""
    target = InTransit()
    [drain] = run(target, NoFault()).history.where("drain")
    assert (drain.value["unfinished"], target.looks) == (0, [])


def test_a_drain_in_which_nothing_shows_progress_ends_after_the_patience(run: Run) -> None:
    [drain] = run(Late(lasts=60.0), NoFault()).history.where("drain")
    assert (drain.value["unfinished"], drain.value["patience"]) == (1, 0.3)
    assert drain.value["quiet"] > 0.3


def test_a_handler_that_works_on_one_task_for_longer_than_the_patience_is_waited_for(run: Run) -> None:
    [drain] = run(Late(lasts=1.0), NoFault(), work=1.5).history.where("drain")
    assert drain.value["unfinished"] == 0


@dataclass
class Promising(Instant):
    """A target that promises to take over after `after` seconds."""

    after: float = 30.0

    def promises(self, settings: TargetSettings) -> Promises:
        return replace(everything(settings), takes_over_after=self.after)


def test_a_task_is_stuck_only_if_the_patience_was_as_long_as_the_promise(run: Run) -> None:
    found = run(Promising(forgets=frozenset({7})), NoFault())
    assert found.error is None
    assert found.verdict is Verdict.UNKNOWN
    assert "promises a recovery within 30 s; give a longer --patience" in found.results["delivery"].summary


def test_the_patience_comes_from_the_promises_of_the_target(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.scenario.run_plan.STALL_SECONDS", 0.2)
    found = run(Promising(forgets=frozenset({7}), after=0.25), NoFault(), stall=None)
    [drain] = found.history.where("drain")
    assert drain.value["patience"] == 0.5
    assert found.results["delivery"].figures["stuck"] == 1


def test_the_machine_is_measured_during_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.run.runner.MachineGauge", MachineGauge)
    found = run(Late(lasts=1.2), NoFault(), stall=60.0)
    samples = machine_samples(found.history)
    assert len(samples) >= 2
    assert all(sample.spin >= 1 and sample.delay >= 0 and sample.load >= 0 for sample in samples)
    assert {op.process for op in found.history.where("machine")} == {"machine"}


@pytest.mark.parametrize(
    ("lost", "asked", "ends"), [(0.0, None, False), (60.0, None, True), (60.0, 1.5, False)]
)
def test_time_that_the_machine_took_away_comes_on_top_of_the_scenarios_own_time_out(
    run: Run, monkeypatch: pytest.MonkeyPatch, lost: float, asked: float | None, ends: bool
) -> None:
    monkeypatch.setattr(QuietMachine, "lost", lost)
    found = run(Late(lasts=2.2), NoFault(), timeout=1.5, asked=asked, stall=60.0)
    assert (found.verdict is Verdict.VALID) is ends
    assert (found.error is None) is ends


def test_a_machine_that_stands_still_gives_a_run_no_more_than_twice_its_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuietMachine, "lost", 3600.0)
    found = run(Instant(forgets=frozenset({7})), NoFault(), timeout=1.0, stall=60.0)
    assert found.error is not None
    assert 2.0 <= found.seconds < 20.0


def test_a_drain_waits_as_long_as_today_for_a_target_without_promises_of_its_own() -> None:
    settings = TargetSettings(queue="q", folder=Path(), history=Path(), gate_address="none", lease=4.0)
    scenario = Scenario(
        name="s",
        summary="",
        workload=NumberedTasks(),
        faults=(KillWorker(at=0.5, gated=False),),
        checkers={},
        pool=PoolNeeds(lease=4.0),
    )
    assert patience_of(scenario, everything(settings)) == 8.0
    assert patience_of(scenario, Promises()) == 8.0
    assert patience_of(scenario, Promises(takes_over_after=0.1)) == 5.0
    assert patience_of(scenario, Promises(recovers_within={Loss.WORKER_KILLED: 60.0})) == 60.0
    assert patience_of(scenario, Promises(recovers_within={Loss.BROKER_EMPTIED: 60.0})) == 8.0


def test_a_pool_that_does_not_start_is_a_breakdown_and_not_a_verdict(run: Run) -> None:
    target = Instant(broken=_breaks("start_pool", TargetFailed("The pool has no handlers. Name some.")))
    found = run(target, NoFault())
    assert found.error == "The pool has no handlers. Name some."
    assert found.verdict is Verdict.UNKNOWN
    assert target.closed


def test_a_target_that_does_not_open_is_a_breakdown_and_not_a_verdict(run: Run) -> None:
    found = run(Instant(broken=_breaks("open", TargetFailed("No schema. Make one."))), NoFault())
    assert (found.error, found.verdict) == ("No schema. Make one.", Verdict.UNKNOWN)


@pytest.mark.parametrize("verb", ["submit", "unfinished", "witnesses"])
def test_whatever_breaks_in_the_target_makes_the_run_unknown_at_best(run: Run, verb: str) -> None:
    found = run(Instant(broken=_breaks(verb, RuntimeError("a bug"))), NoFault())
    assert found.error is not None
    assert "RuntimeError: a bug" in found.error
    assert found.verdict is Verdict.UNKNOWN


def test_a_breakdown_is_in_the_history_and_a_later_look_at_it_is_unknown_too(
    run: Run, tmp_path: Path
) -> None:
    secret = "postgresql://me:hunter2@127.0.0.1/x is gone"
    run(Instant(broken=_breaks("witnesses", TargetFailed(secret))), NoFault())
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


def test_a_target_that_refuses_every_task_ends_the_run_before_its_gated_faults_time_out(run: Run) -> None:
    faults: list[Any] = [KillWorker(at=at, gated=True) for at in (0.3, 0.5, 0.7)]
    result = run(TakesNothing(), *faults)
    assert result.verdict is Verdict.UNKNOWN
    assert str(result.error).startswith("The target acknowledged none of ")
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

    with patch.object(target, "submit", hang):
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


def _breaks(broken: str, error: Exception) -> Callable[[str], None]:
    def breaks(verb: str) -> None:
        if verb == broken:
            raise error

    return breaks


@dataclass
class Careless(Instant):
    """A target with one mistake in its adapter; task 7 is unfinished for ever, which is no loss that could be shown."""

    mistake: str = ""

    def version(self) -> str:
        if self.mistake == "version":
            raise KeyError("agentexec")
        return "1"

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        answers = super().submit(tasks)
        match self.mistake:
            case "too few answers":
                return answers[:-1]
            case "answers twice":
                return [*answers, answers[0]]
            case "answers for another task":
                return [*answers[:-1], Submission(number=999, activity="a999")]
            case "answers with text":
                return [Submission(number=str(one.number), activity=one.activity) for one in answers]  # type: ignore[arg-type]
            case "an answer without a content":
                return [Submission(number=one.number) for one in answers]
            case "no list":
                return None  # type: ignore[return-value]
        return answers

    def unfinished(self) -> int:
        match self.mistake:
            case "unfinished raises":
                raise KeyError("pending")
            case "unfinished is text":
                return "1"  # type: ignore[return-value]
            case "unfinished is nothing":
                return None  # type: ignore[return-value]
            case "unfinished is negative":
                return -1
        return super().unfinished()

    def witnesses(self) -> Iterable[Operation]:
        for number, operation in enumerate(super().witnesses()):
            if self.mistake == "witnesses raises half way" and number == 60:
                raise ConnectionError("reset by peer")
            if self.mistake == "witnesses returns text" and number == 60:
                yield operation.to_json()  # type: ignore[misc]
            yield operation

    def start_pool(self) -> SleepingPool:
        if self.mistake == "no program":
            raise FileNotFoundError(2, "No such file or directory", "rq")
        pool = super().start_pool()
        if self.mistake == "a pool without a code":
            process = pool.process
            pool.wait = lambda timeout: (process.wait(), None)[1]  # type: ignore[method-assign]
        if self.mistake == "a pool whose wait raises":
            pool.wait = lambda timeout: process_ended(pool)  # type: ignore[method-assign]
        return pool


def process_ended(pool: SleepingPool) -> int:
    pool.process.wait()
    raise ChildProcessError("no child process")


NAMED = {
    "too few answers": "`submit` got tasks ",
    "answers twice": "`submit` got tasks ",
    "answers for another task": "`submit` got tasks ",
    "answers with text": "`submit` got tasks ",
    "an answer without a content": "neither an activity nor an error",
    "no list": "`submit` raised TypeError: 'NoneType' object is not iterable",
    "unfinished raises": "`unfinished` raised KeyError: 'pending'",
    "unfinished is text": "`unfinished` raised ValueError: it returned '1'",
    "unfinished is nothing": "it returned None",
    "unfinished is negative": "it returned -1",
    "witnesses raises half way": "`witnesses` raised ConnectionError: reset by peer",
    "witnesses returns text": "`witnesses` raised TypeError: it returned str",
    "no program": "`start_pool` raised FileNotFoundError",
    "a pool without a code": "`exit` of pool-1 has None as `code`",
    "a pool whose wait raises": "`exit` of pool-1 has None as `code`",
}


@pytest.mark.parametrize(("mistake", "named"), NAMED.items(), ids=NAMED.keys())
def test_a_mistake_of_the_adapter_accuses_nothing_and_is_named(run: Run, mistake: str, named: str) -> None:
    target = Careless(mistake=mistake)
    found = run(target, NoFault())
    assert found.verdict is Verdict.UNKNOWN, found.results
    adapter = found.results["adapter"]
    assert (adapter.verdict, named in adapter.summary) == (Verdict.UNKNOWN, True), adapter.summary
    assert "INVALID" not in {one.verdict for one in found.results.values()}
    again = judge_again(found)
    assert again["adapter"].summary == adapter.summary


def judge_again(run: ScenarioRun) -> Any:
    assert run.history_path is not None
    return without_mistakes(dict(run.results), History.load(run.history_path))


def test_a_count_that_raises_does_not_make_a_task_that_still_runs_a_lost_one(run: Run) -> None:
    found = run(Careless(mistake="unfinished raises", forgets=frozenset({7})), NoFault())
    assert found.verdict is Verdict.UNKNOWN
    assert found.results["delivery"].verdict is Verdict.UNKNOWN


def test_a_version_that_raises_costs_no_verdict(run: Run) -> None:
    found = run(Careless(mistake="version"), NoFault())
    assert found.target_version == "of unknown version"
    assert found.results["delivery"].verdict is Verdict.VALID
