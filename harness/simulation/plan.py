"""The plan of a simulated run: its tasks and faults. A seed determines one, and a file can store one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from agentexec.queue.keys import PRIORITY_LEVELS
from harness.errors import UsageError

FORMAT = "harness-simulation/1"
# The highest time in a plan, in seconds.
LONGEST = 1000.0
# More crashes than a run can have.
MANY_CRASHES = 100


class Theme(StrEnum):
    """The focus of a plan. With fewer kinds of faults the checkers allow less and check more."""

    MIXED = "mixed"
    SHUTDOWNS = "shutdowns"
    KILLS = "kills"
    LOCKS = "locks"
    FROZEN = "frozen"


class FaultKind(StrEnum):
    """Kinds of faults in a simulation; the values are the names in the history."""

    KILL_WORKER = "kill-worker"
    KILL_PARENT = "kill-parent"
    KILL_POOL = "kill-pool"
    KILL_PRODUCER = "kill-producer"
    STALL_WORKER = "stall-worker"
    TERMINATE_POOL = "sigterm"
    LOSE_REQUEST = "lose-request"
    LOSE_REPLY = "lose-reply"
    LATE_REQUEST = "late-request"
    PRODUCER_LOSES_REPLY = "producer-loses-reply"
    REDIS_FORGETS = "redis-forgets"
    REDIS_AWAY = "redis-away"
    REDIS_FAILS_OVER = "redis-fails-over"
    REDIS_CLOCK = "redis-clock"
    POSTGRES_AWAY = "postgres-away"
    CANCEL = "cancel"
    FAIL = "fail"
    FREEZE_HOST = "freeze-host"


class CallKind(StrEnum):
    """Calls of a service about a task, which change nothing of its outcome."""

    READ_RESULT = "read-result"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTask:
    """One task. Times are seconds.

    Its handler fails `failures` times before it succeeds, and reports progress `progress` times in each run. With
    `late_lock` the producer sends no lock key, and the worker derives it. With `resend`, the client enqueues it again
    so many seconds later, under the same idempotency key.
    """

    number: int
    at: float
    work: float
    failures: int = 0
    progress: int = 0
    lock: str | None = None
    late_lock: bool = False
    level: int = 1
    delay: float = 0.0
    resend: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedFault:
    """One fault at `at` seconds.

    `victim` chooses among the possible victims. `skip` calls of the victim pass before the fault strikes, `after` the
    server's work or before it. `seconds` is how long it lasts.

    With `point`, it strikes at this side of a call instead, counted from 0 over all requests and replies of the run,
    and its victim is the process of that call; `at` is then only the moment whose state a failover restores.
    """

    kind: FaultKind
    at: float
    victim: int = 0
    skip: int = 0
    after: bool = False
    seconds: float = 0.0
    point: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """A call of a service about the task of this number, at `at` seconds."""

    kind: CallKind
    at: float
    task: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A complete run. `seed` decides everything else: latencies, jitter, and the order of simultaneous events.

    The pools are distributed over the `hosts` in turn. With `two_versions` the first pool is of an older version, which
    does not know one of the tasks. `max_depth` is the number of tasks that the queue takes; 0 for any number. A task
    with more crashes than `max_crashes` becomes a dead letter.
    """

    seed: int
    pools: int
    workers: int
    tasks: tuple[PlannedTask, ...]
    faults: tuple[SimulatedFault, ...]
    theme: Theme = Theme.MIXED
    hosts: int = 1
    two_versions: bool = False
    max_depth: int = 0
    max_crashes: int = MANY_CRASHES
    calls: tuple[PlannedCall, ...] = ()

    @property
    def last_moment(self) -> float:
        """The time at which the last task has arrived and the last fault is over, in seconds."""
        lasting = [fault.at + abs(fault.seconds) for fault in self.faults]
        arriving = [task.at + task.delay + task.resend for task in self.tasks]
        return max([*lasting, *arriving, *(call.at for call in self.calls), 0.0])

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON, readable by `from_json`."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read a plan; raises `UsageError` for anything else."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UsageError(f"This is no schedule of a simulation: its format is not {FORMAT!r}.")
        try:
            return cls._checked(
                seed=data["seed"],
                pools=data["pools"],
                workers=data["workers"],
                tasks=tuple(PlannedTask(**_known(PlannedTask, task)) for task in data["tasks"]),
                faults=tuple(
                    SimulatedFault(**_known(SimulatedFault, fault) | {"kind": FaultKind(fault["kind"])})
                    for fault in data["faults"]
                ),
                # Files from before these parts stay readable.
                theme=Theme(data.get("theme", Theme.MIXED)),
                hosts=data.get("hosts", 1),
                two_versions=data.get("two_versions", False),
                max_depth=data.get("max_depth", 0),
                max_crashes=data.get("max_crashes", MANY_CRASHES),
                calls=tuple(
                    PlannedCall(**_known(PlannedCall, call) | {"kind": CallKind(call["kind"])})
                    for call in data.get("calls", ())
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"This schedule of a simulation cannot be read: {error}.") from None

    @classmethod
    def _checked(cls, **parts: Any) -> Self:
        """A valid plan; raises ValueError for an invalid one."""
        plan = cls(**parts)
        numbers = [task.number for task in plan.tasks]
        for name in ("seed", "pools", "workers", "hosts", "max_depth", "max_crashes"):
            _require(type(getattr(plan, name)) is int, f"{name!r} is no whole number")
        _require(plan.pools >= 1 and plan.workers >= 1, "there is no worker in it")
        _require(plan.hosts >= 1, "there is no host in it")
        _require(type(plan.two_versions) is bool, "'two_versions' is neither true nor false")
        _require(len(set(numbers)) == len(numbers), "two of its tasks have the same number")
        for task in plan.tasks:
            counts = (task.number, task.failures, task.progress, task.level)
            _require(all(type(count) is int and count >= 0 for count in counts), "a count of a task is wrong")
            _require(task.level < PRIORITY_LEVELS, "a task has a level that no queue has")
            _require(task.lock is None or isinstance(task.lock, str), "a lock key is no text")
            _require(
                all(map(_is_time, (task.at, task.work, task.delay, task.resend))), "a time of a task is wrong"
            )
        for fault in plan.faults:
            places = (fault.victim, fault.skip, 0 if fault.point is None else fault.point)
            _require(all(type(place) is int for place in places), "a count of a fault is wrong")
            _require(_is_time(fault.at) and _is_time(abs(fault.seconds)), "a time of a fault is wrong")
        for call in plan.calls:
            _require(type(call.task) is int and _is_time(call.at), "a call is wrong")
        return plan

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read a plan from text; raises `UsageError` for anything else."""
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"This is no schedule of a simulation: it is not JSON ({error}).") from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= LONGEST


def _known(shape: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(shape)}
    unknown = set(data) - names
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is no field of a {shape.__name__}")
    return dict(data)
