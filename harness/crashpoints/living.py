"""A life in a lane: its tasks are submitted, and what belongs to it happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from harness.crashpoints.lane import StrikeLane
from harness.crashpoints.lives import Life, Meanwhile, gate_of
from harness.crashpoints.points import PRODUCER, ROLES
from harness.errors import GateError, TargetFailed
from harness.kit.harness_worker.actions import EXIT
from harness.processes import is_alive
from harness.targets.base import OperatorAction, TaskSpec

# After the end of a task a worker still acknowledges it, and a producer notes its dispatch.
AFTER_SECONDS = 0.3
_CANCEL_SECONDS = 1.5
# In which each process has called its scripts: a pool does so at intervals, without any task.
_ROUND_SECONDS = 1.5
# A process whose start is struck may not start; the next one does. An operator repeats what failed.
_STARTS = 2
# In which the task of a poison life has to become a dead letter.
_MOST_DEATHS_SECONDS = 30.0
_POLL_SECONDS = 0.02


def patience(lane: StrikeLane) -> float:
    """Seconds after which an unfinished task counts as stuck, or is looked at again at the end of the lane.

    Twice as long as the target promises that it takes a silent worker's tasks over, within limits.
    """
    least, silence = lane.settings.patience, lane.promises.takes_over_after or 0.0
    return max(least, min(2 * silence, 2 * least))


def nothing() -> None:
    """Do not wait."""


def live(
    lane: StrikeLane, life: Life, tasks: Sequence[TaskSpec], hold: Callable[[], object] = nothing
) -> None:
    """Submit the tasks of a life, and do what happens meanwhile; returns before the tasks end.

    A life with an action of an operator returns after it, and so after the end of the tasks that there were before.

    What is sent at intervals is sent while the first handler waits: it waits as long as `hold` does, before and after
    what happens meanwhile. The process that a life starts has to have ended before (`StrikeLane.end`).
    """
    lane.purge()
    lane.lose_scripts(lost=life.loses_scripts)
    if life.starts:
        _start(lane, life.starts)
    activities = [one.activity for one in lane.submit(tasks) if one.activity is not None]
    if life.loses_scripts:
        time.sleep(_ROUND_SECONDS)
    if life.meanwhile is not Meanwhile.NOTHING:
        _meanwhile(lane, life, gate_of(tasks[0].number), activities, hold)
    if life.action is not None and lane.finish(patience(lane)):
        _operate(lane, life.action, activities)


def _meanwhile(
    lane: StrikeLane, life: Life, gate: str, activities: Sequence[str], hold: Callable[[], object]
) -> None:
    try:
        if not _waits_at(lane, gate):
            return
        hold()
        if life.meanwhile is Meanwhile.CANCEL:
            _cancel(lane, activities)
        elif life.meanwhile is Meanwhile.POISON:
            lane.dead_letters += activities
            _poison(lane, gate)
        elif life.meanwhile is Meanwhile.EMPTY:
            lane.empty_redis()
            time.sleep(AFTER_SECONDS)
            hold()
        else:
            for pool in lane.pools.running():
                pool.terminate()
            time.sleep(AFTER_SECONDS)
            hold()
    finally:
        lane.gates.open(gate)


def restart_ended(lane: StrikeLane) -> None:
    """Start the producer and a pool again if they have ended."""
    for role in ROLES:
        _start(lane, role)


def _start(lane: StrikeLane, role: str) -> None:
    for _ in range(_STARTS):
        try:
            lane.start(role)
            return
        except TargetFailed:
            continue


def _waits_at(lane: StrikeLane, gate: str) -> bool:
    """Wait until a handler is at the gate; False if there is no task that could come to it."""
    deadline = time.monotonic() + patience(lane)
    while time.monotonic() < deadline:
        try:
            lane.gates.wait_for(gate, within=AFTER_SECONDS)
            return True
        except GateError:
            if not lane.unfinished():
                return False
    return False


def _poison(lane: StrikeLane, gate: str) -> None:
    """Let the handler at the gate end its worker, until its task comes back no more."""
    deadline = time.monotonic() + _MOST_DEATHS_SECONDS
    while _waits_at(lane, gate) and time.monotonic() < deadline:
        for worker in [one.pid for one in lane.gates.waiting() if one.gate == gate]:
            with suppress(GateError):  # it was killed meanwhile
                lane.gates.act(gate, EXIT)
            while is_alive(worker) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)


def _operate(lane: StrikeLane, action: OperatorAction, activities: Sequence[str]) -> None:
    """Let the process of the producer do it, and once more if it fails."""
    for _ in range(_STARTS):
        with suppress(TargetFailed):
            lane.start(PRODUCER)
            lane.producer.operate(action, activities)
            return


def _cancel(lane: StrikeLane, activities: Sequence[str]) -> None:
    try:
        lane.producer.cancel(activities)
    except TargetFailed:
        return  # the outcome of the request is open
    lane.finish(_CANCEL_SECONDS)
