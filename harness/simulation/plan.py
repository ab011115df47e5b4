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
# The largest count of a plan, and the counts of a plan with their bounds: a run of more takes hours.
MOST = 1000
COUNTS = (
    ("pools", 1, 50),
    ("workers", 1, 50),
    ("hosts", 1, 50),
    ("max_depth", 0, MOST),
    ("max_crashes", 0, MOST),
    ("tasks_per_worker", 0, MOST),
)


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
    REDIS_LOSES_KEYS = "redis-loses-keys"
    POSTGRES_AWAY = "postgres-away"
    POSTGRES_SILENT = "postgres-silent"
    CANCEL = "cancel"
    FAIL = "fail"
    FREEZE_HOST = "freeze-host"


class CallKind(StrEnum):
    """Calls of a service, which change nothing of the outcome of a task.

    The first two are about one task. A clean-up moves all activities that are over into the archive. The last one
    begins an activity that the service keeps by hand.
    """

    READ_RESULT = "read-result"
    NOTE = "note"
    CLEAN_UP = "clean-up"
    BY_HAND = "by-hand"


class HandlerForm(StrEnum):
    """How the handler of a task is written and registered."""

    COROUTINE = "coroutine"
    AWAITABLE = "awaitable"  # it returns another coroutine
    THREAD = "thread"  # a plain function
    STRICT = "strict"  # one retry, and none after an error of another type
    LIMITED = "limited"  # a soft time limit


LIMITS = frozenset({HandlerForm.LIMITED, HandlerForm.THREAD})
"""The forms of handlers that may be overdue."""


class HandlerEnd(StrEnum):
    """What a handler does after its planned failures."""

    RETURNS = "returns"
    CLOSES = "closes"  # returns, and has given the message of its completion
    GIVES_UP = "gives-up"  # ends its activity as ERROR, then returns
    RAISES = "raises"  # another error than its planned failures, in each run
    UNWRITABLE = "unwritable"  # returns what JSON does not have
    REFUSED = "refused"  # returns, and before that reports, what a trigger of the database refuses
    UNFIT = "unfit"  # never begins: its context lacks a field
    OVERDUE = "overdue"  # works until its time limit ends it: with that of LIMITED, or as a THREAD


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTask:
    """One task. Times are seconds.

    Its handler fails `failures` times before it succeeds, and reports progress `progress` times in each run. With
    `late_lock` the producer sends no lock key, and the worker derives it. With `resend`, the client enqueues it again
    so many seconds later, under the same idempotency key. `burst` is the number of reports without a percentage that it
    makes at once. With `conflict`, a client uses the same key for a task of another name so many seconds later.
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
    form: HandlerForm = HandlerForm.COROUTINE
    end: HandlerEnd = HandlerEnd.RETURNS
    burst: int = 0
    conflict: float = 0.0


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
    """A call of a service about the task of this number, at `at` seconds.

    For an activity that is kept by hand, `task` chooses among the lives that it may have.
    """

    kind: CallKind
    at: float
    task: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A complete run. `seed` decides everything else: latencies, jitter, and the order of simultaneous events.

    The pools are distributed over the `hosts` in turn. With `two_versions` the first pool is of an older version, which
    does not know one of the tasks. `max_depth` is the number of tasks that the queue takes; 0 for any number. A task
    with more crashes than `max_crashes` becomes a dead letter. A worker is replaced after about `tasks_per_worker`
    tasks; 0 for any number.
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
    tasks_per_worker: int = 0

    @property
    def recycles(self) -> bool:
        """Whether a worker may be replaced that no fault struck: threads that run on may be too many for it."""
        return self.tasks_per_worker > 0 or any(task.form is HandlerForm.THREAD for task in self.tasks)

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
            _known(cls, {key: value for key, value in data.items() if key not in ("format", "found")})
            return cls._checked(
                seed=data["seed"],
                pools=data["pools"],
                workers=data["workers"],
                tasks=tuple(map(_task_of, data["tasks"])),
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
                tasks_per_worker=data.get("tasks_per_worker", 0),
            )
        except KeyError as error:
            raise UsageError(f"This schedule of a simulation cannot be read: {error} is missing.") from None
        except (TypeError, ValueError) as error:
            raise UsageError(f"This schedule of a simulation cannot be read: {error}.") from None

    @classmethod
    def _checked(cls, **parts: Any) -> Self:
        """A valid plan; raises ValueError for an invalid one."""
        plan = cls(**parts)
        numbers = [task.number for task in plan.tasks]
        for name, least, most in COUNTS:
            value = getattr(plan, name)
            _require(
                type(value) is int and least <= value <= most,
                f"{name!r} is no whole number {least} to {most}",
            )
        _require(type(plan.seed) is int, "'seed' is no whole number")
        _require(type(plan.two_versions) is bool, "'two_versions' is neither true nor false")
        _require(len(set(numbers)) == len(numbers), "two of its tasks have the same number")
        for task in plan.tasks:
            counts = (task.failures, task.progress, task.level, task.burst)
            _require(
                all(type(one) is int and 0 <= one <= MOST for one in counts), "a count of a task is wrong"
            )
            _require(type(task.number) is int and task.number >= 0, "the number of a task is wrong")
            _require(task.level < PRIORITY_LEVELS, "a task has a level that no queue has")
            _require(task.lock is None or isinstance(task.lock, str), "a lock key is no text")
            _require(task.end is not HandlerEnd.OVERDUE or task.form in LIMITS, "a task has no time limit")
            _require(
                all(map(_is_time, (task.at, task.work, task.delay, task.resend, task.conflict))),
                "a time of a task is wrong",
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


def _task_of(data: Mapping[str, Any]) -> PlannedTask:
    known = _known(PlannedTask, data)
    if "form" in known:  # files from before the forms of handlers have none
        known |= {"form": HandlerForm(known["form"]), "end": HandlerEnd(known["end"])}
    return PlannedTask(**known)


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
