"""Kills and stops, carried out by the nemesis on a small pool of real processes."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from harness.errors import GateError
from harness.faults import starving
from harness.faults.base import Aim, Fault, FaultContext, PlannedFault
from harness.faults.handler import HandlerBlocks, HandlerExits, KillForkedWorker
from harness.faults.nemesis import Nemesis
from harness.faults.pausing import PAUSE_MARGIN_SECONDS, PausePool
from harness.faults.process import (
    KillWorker,
    ScaleToZero,
    kill_pool,
    kill_random_worker,
    kill_worker_at_gate,
    replace_pool,
    sigterm_pool,
)
from harness.gate import GateKeeper
from harness.history import History, Operation, OperationType, Recorder
from harness.history.faults import fault_windows, injected_faults
from harness.history.figures import NANOSECONDS
from harness.history.promises import Loss, Promises
from harness.processes import is_alive
from harness.scenario.schedule import plan_faults
from harness.targets.base import TargetSettings
from harness.targets.body import worker_environment
from harness.targets.pools import Pools
from harness.targets.subprocess_pool import SubprocessPool

POOL = """
import signal, subprocess, sys
worker = '''
import asyncio, threading
from harness.targets.body import perform
try:
    asyncio.run(perform(1, activity="a", attempt=1, fence=1, work=0.0, gate="task-1"))
finally:
    threading.Event().wait()
'''
child = None
def stop(*_):
    if child is not None:
        child.kill()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    child = subprocess.Popen([sys.executable, "-c", worker])
    child.wait()
"""


class StrikesNothing(KillWorker):
    """A fault whose victim is gone when it strikes."""

    def __init__(self, at: float) -> None:
        super().__init__(at=at, gated=False, name="strikes-nothing")

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        raise GateError("nothing there")


class Session:
    """Pools of one worker, which waits at the gate of task 1 and is replaced when it dies."""

    def __init__(self, folder: Path, keeper: GateKeeper) -> None:
        self._settings = TargetSettings(
            queue="q", folder=folder, history=folder, gate_address=keeper.address, workers=1
        )
        self._environment = {
            "PYTHONPATH": ":".join(entry or "." for entry in sys.path),
            **worker_environment(folder, keeper.address),
        }

    def start_pool(self) -> SubprocessPool:
        return SubprocessPool.start(
            [sys.executable, "-c", POOL], environment=self._environment, settings=self._settings, name="pool"
        )


class WatchedGates(GateKeeper):
    """Notes which pools ran whenever a gate was opened."""

    pools: Pools
    opened: list[list[str]]

    def open(self, gate: str) -> None:
        self.opened.append([pool.name for pool in self.pools.running()])
        super().open(gate)


class Field:
    """A fault context with one running pool, and a nemesis."""

    def __init__(self, context: FaultContext, recorder: Recorder, folder: Path, gates: WatchedGates) -> None:
        self.gates = gates
        self.pool = context.pools.start()
        self._recorder = recorder
        self.folder = folder
        self.context = context
        self.promise(Promises())

    def promise(self, promises: Promises) -> None:
        """Let the target make these promises."""
        self.context = replace(self.context, promises=promises)
        self._nemesis = Nemesis(self.context, self._recorder, log=lambda text: None)

    def inject(self, fault: Fault) -> list[str]:
        """Inject and heal, and return what the nemesis missed."""
        planned = plan_faults([fault], seed=1, due=[0.0])
        return self.carry_out_all(planned, start=time.monotonic())

    def carry_out_all(self, planned: Sequence[PlannedFault], *, start: float) -> list[str]:
        """Inject and heal all of them, and return what the nemesis missed."""
        self._nemesis.run(planned, start=start, stop=threading.Event())
        return self._nemesis.missed

    def history(self) -> History:
        return History.load(self.folder)

    def carry_out(self, fault: Fault) -> Operation:
        """Inject and heal, and return the recorded operation of the injection."""
        assert self.inject(fault) == []
        inject, heal = self.history().by_process("nemesis")
        assert (inject.value["phase"], heal.value["phase"]) == ("inject", "heal")
        return inject

    def finished(self) -> set[int]:
        """Workers whose handler came through the gate."""
        return {op.value["pid"] for op in History.load(self.folder).where("run", OperationType.OK)}


@pytest.fixture
def field() -> Iterator[Field]:
    with tempfile.TemporaryDirectory(prefix="hx-") as name:
        folder = Path(name)
        with WatchedGates(folder / "gate") as keeper:
            session: Any = Session(folder, keeper)
            recorders = [
                Recorder(folder / f"{process}.jsonl", process=process) for process in ("exits", "nemesis")
            ]
            pools = Pools(session, recorders[0])
            keeper.pools, keeper.opened = pools, []
            context = FaultContext(gates=keeper, pools=pools, patience=20.0)
            try:
                yield Field(context, recorders[1], folder, keeper)
            finally:
                pools.kill()
                for recorder in recorders:
                    recorder.close()


def test_a_gated_fault_waits_until_its_task_is_submitted(field: Field) -> None:
    field.context = replace(field.context, patience=0.0)
    field.promise(Promises())
    field.gates.wait_for("task-1")
    planned = [replace(one, due=0.5) for one in plan_faults([kill_worker_at_gate(at=0.0)], seed=1, due=[0.0])]
    start = time.monotonic()
    field.carry_out_all(planned, start=start)
    assert next(iter(field.history().by_process("nemesis"))).time >= (start + 0.5) * NANOSECONDS


def test_a_worker_is_killed_at_the_gate_and_its_successor_passes(field: Field, eventually: Any) -> None:
    [victim] = field.pool.worker_pids()
    operation = field.carry_out(kill_worker_at_gate(at=0.0))
    assert operation.f == "kill-worker"
    assert operation.value["pids"] == [victim]
    assert operation.value["pool"] == "pool-1"
    assert not is_alive(victim)
    assert field.pool.is_running
    [successor] = field.pool.worker_pids()
    eventually(lambda: field.finished() == {successor}, deadline=20.0)


def test_a_random_worker_is_killed_without_any_gate(field: Field) -> None:
    [victim] = field.pool.worker_pids()
    operation = field.carry_out(kill_random_worker(at=0.0))
    assert operation.value["pids"] == [victim]
    assert not is_alive(victim)


def test_a_pool_is_killed_with_its_children_and_another_takes_over(field: Field, eventually: Any) -> None:
    victims = [field.pool.pid, *field.pool.worker_pids()]
    operation = field.carry_out(kill_pool(at=0.0))
    assert (operation.f, operation.value["pids"]) == ("kill-pool", victims)
    assert field.pool.code == -9
    eventually(lambda: not any(map(is_alive, victims)), deadline=20.0)
    [successor] = field.context.pools.running()
    assert successor.name == "pool-2"
    eventually(lambda: field.finished() == set(successor.worker_pids()), deadline=20.0)


def test_a_stopped_pool_has_another_beside_it_and_ends_with_0(field: Field) -> None:
    workers = field.pool.worker_pids()
    operation = field.carry_out(sigterm_pool(at=0.0, graceful=5.0))
    assert operation.f == "sigterm"
    assert operation.value["pid"] == field.pool.pid
    assert operation.value["pids"] == workers
    assert operation.value["graceful"] == 5.0
    assert field.pool.code == 0
    assert [pool.name for pool in field.context.pools.running()] == ["pool-2"]


@pytest.mark.parametrize(("outlive", "survives"), [(False, False), (False, True), (True, False)])
def test_a_stopped_pool_does_not_wait_at_the_gate_of_a_later_fault(
    field: Field, outlive: bool, survives: bool
) -> None:
    """Its handler would outlive the time-out, of which not every target makes something."""
    late = frozenset({Loss.SIGTERM_LATE} if survives else ())
    field.promise(Promises(survives=late))
    [worker] = field.pool.worker_pids()
    field.carry_out(sigterm_pool(at=0.0, graceful=5.0, outlive=outlive))
    with socket.socket(socket.AF_UNIX) as handler:
        handler.settimeout(0.3 if outlive or survives else 20.0)
        handler.connect(field.gates.address)
        handler.sendall(json.dumps({"gate": "task-2", "pid": worker, "task": 2}).encode() + b"\n")
        if outlive or survives:
            with pytest.raises(TimeoutError):
                handler.recv(9)
        else:
            assert handler.recv(9) == b"open\n"


def test_a_pool_is_replaced_after_both_ran_side_by_side(field: Field) -> None:
    began = time.monotonic()
    operation = field.carry_out(replace_pool(at=0.0, graceful=5.0, beside=0.5))
    assert time.monotonic() - began >= 0.5
    assert (operation.f, operation.value["pid"]) == ("sigterm", field.pool.pid)
    assert field.pool.code == 0
    assert [pool.name for pool in field.context.pools.running()] == ["pool-2"]


def test_a_task_that_outlives_its_pool_is_held_until_the_pool_has_ended(
    field: Field, eventually: Any
) -> None:
    [worker] = field.pool.worker_pids()
    field.carry_out(sigterm_pool(at=0.0, graceful=5.0, outlive=True))
    [successor] = field.context.pools.running()
    eventually(lambda: field.finished() == set(successor.worker_pids()), deadline=20.0)
    assert worker not in field.finished()
    assert field.gates.opened == [["pool-2"]], "the gate was opened before the pool had ended"


def test_a_pool_is_paused_as_a_whole_while_another_runs_its_task(field: Field, eventually: Any) -> None:
    [worker] = field.pool.worker_pids()
    [planned] = plan_faults([fault := PausePool(at=0.0, seconds=0.0)], seed=1, due=[0.0])
    aim = fault.aim(field.context, planned)
    fault.inject(field.context, planned, aim)
    assert aim.pids == (field.pool.pid, worker)
    eventually(
        lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in aim.pids), deadline=20.0
    )
    [_, beside] = field.context.pools.running()
    eventually(lambda: field.finished() == set(beside.worker_pids()), deadline=20.0)
    fault.heal(field.context, planned, aim)
    eventually(lambda: worker in field.finished(), deadline=20.0)


def test_a_pause_lasts_longer_than_the_time_after_which_others_take_over(field: Field) -> None:
    context = replace(field.context, promises=Promises(takes_over_after=7.0))
    [planned] = plan_faults([fault := PausePool(at=0.0)], seed=1, due=[0.0])
    assert fault.aim(context, planned).value["seconds"] == 7.0 + PAUSE_MARGIN_SECONDS


def test_an_injection_that_strikes_nothing_is_healed_and_counts_as_none(field: Field) -> None:
    fault = StrikesNothing(at=0.0)
    field.context = replace(field.context, patience=0.2)  # no worker has to be replaced
    field.promise(Promises())
    assert field.inject(fault) == ["fault 1 (strikes-nothing): nothing there"]
    assert fault_windows(field.history())[0].failed
    assert injected_faults(field.history()) == []
    assert [op.value["phase"] for op in field.history().by_process("nemesis")][-1] == "heal"


def test_nothing_more_is_injected_once_the_run_has_to_stop(field: Field) -> None:
    stop = threading.Event()
    stop.set()
    recorder: Any = None
    Nemesis(field.context, recorder, log=lambda text: None).run(
        plan_faults([kill_pool(at=0.0)], seed=1, due=[0.0]), start=time.monotonic(), stop=stop
    )
    assert field.pool.is_running


@pytest.mark.parametrize(
    "fault", [HandlerExits(at=0.0), KillForkedWorker(at=0.0)], ids=lambda fault: fault.name
)
def test_a_worker_that_its_handler_ends_counts_as_killed_and_is_replaced(
    field: Field, fault: Fault, eventually: Any
) -> None:
    operation = field.carry_out(fault)
    [victim] = operation.value["pids"]
    assert (operation.f, operation.value["kind"]) == (fault.name, "kill")
    assert not is_alive(victim)
    eventually(lambda: victim not in field.finished() != set(), deadline=20.0)


def test_a_handler_that_blocks_goes_on(field: Field, eventually: Any) -> None:
    operation = field.carry_out(HandlerBlocks(at=0.0, seconds=0.2))
    told = operation.value
    assert (told["kind"], told["loss"], told["seconds"]) == ("pause", "worker-blocked", 0.2)
    eventually(lambda: field.finished() == set(told["pids"]), deadline=20.0)


def test_a_queue_is_without_workers_until_another_pool_starts(field: Field) -> None:
    operation = field.carry_out(ScaleToZero(at=0.0, graceful=5.0, seconds=0.2))
    told = operation.value
    assert (told["kind"], told["pid"], told["graceful"]) == ("stop", field.pool.pid, 5.0)
    assert field.pool.code == 0
    assert [pool.name for pool in field.context.pools.running()] == ["pool-2"]
    [first, second] = field.history().where("start", OperationType.OK)
    [exit_] = field.history().where("exit")
    assert first.time < exit_.time < second.time - 0.2e9


def test_workers_share_one_processor_with_busy_processes(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    [worker] = field.pool.worker_pids()
    meanwhile: list[tuple[set[int], int]] = []

    def sleep(seconds: float) -> None:
        mine = [child for child in psutil.Process().children() if "getppid" in str(child.cmdline())]
        meanwhile.append((os.sched_getaffinity(worker), len(mine)))

    monkeypatch.setattr(starving, "time", SimpleNamespace(sleep=sleep))
    everywhere, before = os.sched_getaffinity(0), {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(worker, before)
    operation = field.carry_out(starving.StarveWorkers(at=0.0, seconds=0.2, burners=2))
    assert operation.value["pids"] == [worker]
    assert meanwhile == [({max(everywhere)}, 2)]
    assert os.sched_getaffinity(worker) == before, "its own, not those of the harness"
    assert not [child for child in psutil.Process().children() if "getppid" in str(child.cmdline())]
