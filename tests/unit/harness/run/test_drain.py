"""The drain: what it waits for, how long, and what it says about the tasks that are left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from harness.checkers import standard
from harness.checkers.base import Verdict, check_all
from harness.faults.process import KillWorker
from harness.history import History, OperationType
from harness.history.machine import machine_samples
from harness.history.promises import Loss, Promises
from harness.run.gauge import MachineGauge
from harness.run.memory_gauge import MemoryGauge
from harness.scenario import PoolNeeds, Scenario, ScenarioRun
from harness.scenario.run_plan import patience_of
from harness.targets.base import TargetSettings
from harness.targets.promised import everything
from harness.workloads.numbered_tasks import NumberedTasks
from tests.support.instant_target import Instant, NoFault, QuietMachine, Run


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


@dataclass
class Ticking(Late):
    """A target whose workers run a task without a number whenever the drain looks."""

    scheduled: bool = True

    def unfinished(self) -> int:
        flag = {"scheduled": True} if self.scheduled else {}
        self.recorder.record(OperationType.OK, "child", name="tick", activity="t", **flag)
        return super().unfinished()


@pytest.mark.parametrize(("scheduled", "left"), [(True, 1), (False, 0)])
def test_runs_of_a_schedule_are_no_progress_of_the_tasks_of_a_run(
    run: Run, scheduled: bool, left: int
) -> None:
    """A cron job every few seconds let each drain with a lost task run into the time-out."""
    [drain] = run(Ticking(scheduled=scheduled, lasts=1.0), NoFault()).history.where("drain")
    assert drain.value["unfinished"] == left


def test_a_drain_in_which_nothing_shows_progress_ends_after_the_patience(run: Run) -> None:
    [drain] = run(Late(lasts=60.0), NoFault()).history.where("drain")
    assert (drain.value["unfinished"], drain.value["patience"]) == (1, 0.3)
    assert drain.value["quiet"] > 0.3


def test_samples_of_the_memory_of_its_pools_are_no_progress(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.runner.MemoryGauge", partial(MemoryGauge, period=0.05))
    history = run(Late(lasts=60.0), NoFault()).history
    [drain] = history.where("drain")
    assert (drain.value["unfinished"], drain.value["quiet"] > 0.3) == (1, True)
    assert len(list(history.where("memory"))) > 3
    assert {op.process for op in history.where("memory")} == {"memory"}


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
