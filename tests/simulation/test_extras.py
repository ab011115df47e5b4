"""How handlers are written and end, what services do beside tasks, and the loss of single keys: in plans and judges."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from harness.errors import UsageError
from harness.history import InjectionKind, Operation, OperationType
from harness.simulation import Plan, plan_of, simulate
from harness.simulation.by_hand import LIVES, ManualActivity, ManualRecord
from harness.simulation.outcomes import failures_of
from harness.simulation.plan import (
    CallKind,
    FaultKind,
    HandlerEnd,
    HandlerForm,
    PlannedCall,
    PlannedTask,
    SimulatedFault,
    Theme,
)
from harness.simulation.redis_server import LOSSES
from harness.simulation.scheduler import Scheduler
from harness.simulation.worker_promises import RefusedEnds, StartTokens, WorkerDeaths, WorkerTurnover
from tests.planted.edits import Edit, applied

TASKS = tuple(PlannedTask(number=number, at=1.0 + 0.01 * number, work=0.3) for number in range(6))
PLAIN = Plan(seed=1, pools=1, workers=1, tasks=TASKS, faults=())
SECOND = 10**9


def handled(form: HandlerForm, end: HandlerEnd, *, burst: int = 0, failures: int = 0) -> Plan:
    """A plan in which the second task has another handler."""
    one = replace(TASKS[1], form=form, end=end, burst=burst, failures=failures)
    return replace(PLAIN, tasks=(TASKS[0], one, *TASKS[2:]))


def by_hand(life: int) -> Plan:
    return replace(PLAIN, calls=(PlannedCall(kind=CallKind.BY_HAND, at=1.1, task=life),))


# A service ends a task whose handler works on, and its row is gone before the worker hears of it.
ENDED_AND_GONE = replace(
    PLAIN,
    tasks=(replace(TASKS[0], work=1.5), *TASKS[1:]),
    faults=(SimulatedFault(kind=FaultKind.FAIL, at=1.5, victim=0),),
    calls=tuple(PlannedCall(kind=CallKind.CLEAN_UP, at=at, task=0) for at in (1.53, 3.0)),
)
# Redis loses the keys of tasks that wait for their time, and nothing else.
LOST = replace(
    PLAIN,
    tasks=tuple(replace(task, delay=4.0) for task in TASKS),
    faults=(SimulatedFault(kind=FaultKind.REDIS_LOSES_KEYS, at=4.5),),
)
UNWRITABLE = handled(HandlerForm.COROUTINE, HandlerEnd.UNWRITABLE)
REFUSED = handled(HandlerForm.COROUTINE, HandlerEnd.REFUSED)
SOFT = handled(HandlerForm.LIMITED, HandlerEnd.OVERDUE)
HARD = handled(HandlerForm.THREAD, HandlerEnd.OVERDUE)
BURST = handled(HandlerForm.COROUTINE, HandlerEnd.RETURNS, burst=120)
GIVES_UP = handled(HandlerForm.COROUTINE, HandlerEnd.GIVES_UP)
STRICT = handled(HandlerForm.STRICT, HandlerEnd.RAISES)
MISUSED = replace(PLAIN, tasks=tuple(replace(task, conflict=0.5) for task in TASKS))
SILENT = replace(
    PLAIN,
    workers=2,
    tasks=tuple(replace(task, at=1.5 + task.number * 0.05) for task in TASKS),
    faults=(SimulatedFault(kind=FaultKind.POSTGRES_SILENT, at=1.3, seconds=5.0),),
)
TWICE = handled(HandlerForm.AWAITABLE, HandlerEnd.GIVES_UP)
LATER = PlannedTask(number=9, at=4.0, work=0.1)
RECYCLED = replace(PLAIN, tasks=(*TASKS, LATER), tasks_per_worker=3)
KILLED = replace(PLAIN, workers=2, faults=(SimulatedFault(kind=FaultKind.KILL_WORKER, at=1.1),))
STOPPED = replace(PLAIN, faults=(SimulatedFault(kind=FaultKind.TERMINATE_POOL, at=1.5),))
CANCELED = replace(PLAIN, faults=(SimulatedFault(kind=FaultKind.CANCEL, at=1.2, victim=1),))


@pytest.mark.parametrize(
    ("plan", "event"),
    [
        (ENDED_AND_GONE, "end-of-deleted-row"),
        (ENDED_AND_GONE, "clean-up-moves-rows"),
        (LOST, "comparison-restores"),
        (SILENT, "lease-given-up-in-silence"),
        (MISUSED, "key-of-another-task"),
        (by_hand(0), "activity-by-hand-ends"),
        (GIVES_UP, "handler-gives-up"),
        (STRICT, "handler-raises-for-good"),
        (UNWRITABLE, "result-has-no-json"),
        (REFUSED, "result-is-refused"),
        (SOFT, "soft-limit-ends-run"),
        (HARD, "hard-limit-ends-worker"),
        (BURST, "progress-is-replaced"),
        (RECYCLED, "worker-recycled"),
    ],
)
def test_a_feature_reaches_its_event_and_breaks_nothing(plan: Plan, event: str) -> None:
    outcome = simulate(plan)
    assert not outcome.findings
    assert event in outcome.reached
    assert event not in simulate(PLAIN).reached


@pytest.mark.parametrize("life", range(len(LIVES)))
def test_an_activity_that_is_kept_by_hand_is_recorded_as_its_calls_say(life: int) -> None:
    away = SimulatedFault(kind=FaultKind.POSTGRES_AWAY, at=1.2, seconds=0.8)
    assert not simulate(replace(by_hand(life), faults=(away,))).findings


@pytest.mark.parametrize(
    ("form", "end", "runs", "status"),
    [
        (HandlerForm.COROUTINE, HandlerEnd.CLOSES, 1, "complete"),
        (HandlerForm.AWAITABLE, HandlerEnd.RETURNS, 1, "complete"),
        (HandlerForm.THREAD, HandlerEnd.RETURNS, 1, "complete"),
        (HandlerForm.LIMITED, HandlerEnd.RETURNS, 1, "complete"),
        (HandlerForm.COROUTINE, HandlerEnd.GIVES_UP, 1, "error"),
        (HandlerForm.THREAD, HandlerEnd.GIVES_UP, 1, "error"),
        (HandlerForm.COROUTINE, HandlerEnd.RAISES, 3, "error"),
        (HandlerForm.STRICT, HandlerEnd.RAISES, 1, "error"),
        (HandlerForm.COROUTINE, HandlerEnd.UNWRITABLE, 1, "error"),
        (HandlerForm.COROUTINE, HandlerEnd.REFUSED, 1, "error"),
        (HandlerForm.COROUTINE, HandlerEnd.UNFIT, 0, "error"),
        (HandlerForm.LIMITED, HandlerEnd.OVERDUE, 3, "error"),
        (HandlerForm.THREAD, HandlerEnd.OVERDUE, 3, "error"),
    ],
)
def test_a_handler_runs_as_often_and_ends_as_it_is_written(
    form: HandlerForm, end: HandlerEnd, runs: int, status: str
) -> None:
    plan = handled(form, end)
    outcome = simulate(plan)
    assert not outcome.findings
    began = Counter(op.value["task"] for op in outcome.history.where("run", OperationType.INVOKE))
    records = {op.value["task"]: op.value["status"] for op in outcome.history.where("record")}
    assert (began[1], records[1]) == (runs, status)
    if status == "error":
        assert failures_of(plan.tasks[1], 2) == runs


def test_a_strict_registration_gives_planned_failures_one_retry() -> None:
    plan = handled(HandlerForm.STRICT, HandlerEnd.RETURNS, failures=5)
    assert failures_of(plan.tasks[1], 2) == 2
    assert not simulate(plan).findings


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    ("where", "old", "new", "plan", "checker"),
    [
        ("worker.runner:HandlerRunner._decided", "is None:", "is None or True:", GIVES_UP, "outcomes"),
        ("worker.runner:HandlerRunner._failed", "canceled and run.expired", "False", SOFT, "texts"),
        ("worker.runner:HandlerRunner.overdue", "began + limit:", "began + limit + 99:", HARD, "liveness"),
        (
            "worker.runner:_awaited",
            "awaited is not None and inspect.isawaitable(awaited)",
            "False",
            TWICE,
            "texts",
        ),
        ("worker.leases:HeldLeases.number", "lease.next_entry - 1", "None", BURST, "texts"),
        ("worker.progress:PendingProgress.is_full", ">= MAX_ENTRIES", "< 0", BURST, "texts"),
        ("store.direct:Locked.by_hand", "== BY_HAND", "is None", by_hand(0), "texts"),
        (
            "worker.recording:_explain",
            "i not in standings or i in over",
            "i in over",
            ENDED_AND_GONE,
            "promptness",
        ),
        ("worker.reconciler:Reconciler._compare", "not in had])", "in had])", LOST, "liveness"),
        (
            "worker.reconciler:Reconciler._compare",
            "if rebuilding and (",
            "if rebuilding or (",
            LOST,
            "invariants",
        ),
        (
            "worker.reconciler:Reconciler.withdraw",
            "while last is not None:",
            "while False:",
            CANCELED,
            "liveness",
        ),
        (
            "worker.recycling:RecyclePolicy.is_over",
            "0 < self._tasks",
            "9 < self._tasks",
            RECYCLED,
            "invariants",
        ),
        ("worker.recycling:RecyclePolicy.is_over", "<= finished", "<= finished + 9", RECYCLED, "invariants"),
        ("worker.maintenance:Maintenance._release", "is not None", "is None", KILLED, "promptness"),
        ("store.statements:_recorded_before", "not same_task and", "False and", MISUSED, "invariants"),
        ("worker.process:Worker._release_unanswered", "if not leases:", "if True:", SILENT, "promptness"),
        ("worker.loop:WorkerLoop.run", "declare_gone=True", "declare_gone=False", STOPPED, "invariants"),
    ],
)
def test_what_a_feature_or_a_judge_is_for_is_found(
    where: str, old: str, new: str, plan: Plan, checker: str
) -> None:
    assert not simulate(plan).findings
    with applied([Edit(where=f"agentexec.{where}", old=old, new=new)]):
        assert checker in {finding.checker for finding in simulate(plan).findings}


@pytest.mark.parametrize(
    ("starts", "found"),
    [
        ([(5, 9), (10, 12)], 0),
        ([(5, 9), (5, 9)], 0),  # sent again
        ([(5, 9), (8, 9)], 1),
        ([(5, 9), (9, 9)], 1),
    ],
)
def test_a_worker_that_was_refused_for_a_fence_takes_no_token_below_it_again(
    starts: Sequence[tuple[int, int]], found: int
) -> None:
    tokens = StartTokens()
    for token, fence in starts:
        tokens.judge([({"worker": "w", "id": "a", "token": token}, fence)])
    tokens.judge([({"worker": "v", "id": "a", "token": 6}, 9)])
    assert len(tokens.findings) == found


@pytest.mark.parametrize(
    ("fault", "parent_ends", "released", "found"),
    [
        (FaultKind.KILL_WORKER, 9.0, 2.4, 0),
        (FaultKind.KILL_WORKER, 9.0, 3.0, 1),
        (FaultKind.KILL_WORKER, 9.0, None, 1),
        (FaultKind.KILL_WORKER, 2.1, None, 0),
        (FaultKind.REDIS_AWAY, 9.0, None, 0),
    ],
)
def test_a_pool_that_lives_releases_a_dead_worker_at_once_where_no_fault_is_near(
    fault: FaultKind, parent_ends: float, released: float | None, found: int
) -> None:
    deaths, parent = WorkerDeaths(), Scheduler(1).new_process("pool-0", 0)
    deaths.died("w", parent, 2 * SECOND)
    deaths.pool_ended(parent, round(parent_ends * SECOND))
    if released is not None:
        deaths.released("w", round(released * SECOND))
    value = {"phase": "inject", "kind": InjectionKind.KILL, "seconds": 0.0}
    struck = Operation(time=SECOND, process="nemesis", type=OperationType.INFO, f=fault, value=value)
    assert len([*deaths.late([struck], 9 * SECOND)]) == found


def test_a_lease_whose_end_was_refused_is_given_back_unless_a_fault_prevents_that() -> None:
    ends, task = RefusedEnds(), UUID(int=1)
    ends.expired({task: 4}, SECOND)
    assert not [*ends.kept([])], "no end was refused"
    ends.refused((task.hex, 5), 2 * SECOND)
    ends.expired({task: 5}, 4 * SECOND)
    assert len([*ends.kept([])]) == 1
    value = {"phase": "inject", "seconds": 2.5}
    away = Operation(time=SECOND, process="nemesis", type=OperationType.INFO, f="redis-away", value=value)
    assert not [*ends.kept([away])]


@pytest.mark.parametrize(("at", "stalled_until", "found"), [(3.5, 0, 1), (2.5, 0, 0), (3.5, 3, 0)])
def test_a_worker_leaves_within_a_second_after_its_number_of_tasks(
    at: float, stalled_until: int, found: int
) -> None:
    turnover = WorkerTurnover(5)
    assert not [*turnover.after_round(4, SECOND, stalled_until=0)]
    assert not [*turnover.after_round(5, 2 * SECOND, stalled_until=0)]
    now = round(at * SECOND)
    assert len([*turnover.after_round(6, now, stalled_until=stalled_until * SECOND)]) == found


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (ManualRecord("complete", [("queued", "Agent queued", 0), ("complete", "x", 100)]), True),
        (ManualRecord("queued", [("queued", "Agent queued", 0)]), False),
        (None, True),
    ],
)
def test_a_record_by_hand_has_what_its_calls_made_and_nothing_else(
    record: ManualRecord | None, found: bool
) -> None:
    kept = ManualActivity(UUID(int=1), log=[("queued", "Agent queued", 0)])
    assert bool([*kept.judged(record)]) == found
    assert bool([*ManualActivity(UUID(int=1)).judged(record)]) == (record is not None)


@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_each_loss_of_keys_is_survived(number: int) -> None:
    tasks = tuple(replace(task, work=1.5, lock="a" if task.number < 2 else None) for task in TASKS)
    lost = SimulatedFault(kind=FaultKind.REDIS_LOSES_KEYS, at=1.8, victim=number)
    plan = replace(PLAIN, workers=2, tasks=tasks, faults=(lost,))
    outcome = simulate(plan)
    assert not outcome.findings
    assert outcome.injected == 1


def test_half_of_the_plans_have_each_feature_that_their_theme_allows() -> None:
    plans = [plan_of(seed) for seed in range(400)]
    mixed = [plan for plan in plans if plan.theme is Theme.MIXED]
    has = Counter(name for plan in plans for name in _extras(plan))
    of_mixed = Counter(name for plan in mixed for name in _extras(plan))
    for name in ("awaitable", "strict", "gives-up", "burst", "by-hand"):
        assert 0.2 * len(plans) < has[name], name
    for name in ("thread", "overdue", "clean-up", "tasks_per_worker", "redis-loses-keys"):
        assert 0.2 * len(mixed) < of_mixed[name] < 0.7 * len(mixed), name
    for plan in plans:
        if plan.theme is not Theme.MIXED:
            assert not _extras(plan) & {"thread", "limited", "clean-up", "redis-loses-keys"}
        if "clean-up" in _extras(plan):  # a row that is gone frees its key
            assert not plan.max_depth
            assert not any(task.resend or task.conflict for task in plan.tasks)


def _extras(plan: Plan) -> set[str]:
    found = {str(value) for task in plan.tasks for value in (task.form, task.end)}
    found |= {str(call.kind) for call in plan.calls} | {str(fault.kind) for fault in plan.faults}
    found |= {"burst"} if any(task.burst for task in plan.tasks) else set()
    return found | ({"tasks_per_worker"} if plan.tasks_per_worker else set())


def test_a_plan_with_all_of_it_survives_its_file_and_one_without_is_read_as_before() -> None:
    plan = next(plan for plan in map(plan_of, range(400)) if _extras(plan) >= {"clean-up", "thread", "burst"})
    kept = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(kept) == plan
    for task in kept["tasks"]:
        del task["form"], task["end"], task["burst"]
    del kept["tasks_per_worker"]
    assert {task.form for task in Plan.from_json(kept).tasks} == {HandlerForm.COROUTINE}


@pytest.mark.parametrize("change", [{"end": "overdue"}, {"end": "sings"}, {"form": "song"}, {"burst": -1}])
def test_a_task_that_no_handler_can_be_is_refused(change: dict[str, object]) -> None:
    kept = json.loads(json.dumps(PLAIN.to_json()))
    kept["tasks"][0] |= change
    with pytest.raises(UsageError):
        Plan.from_json(kept)


@pytest.mark.parametrize(
    "seed",
    [
        810477,  # a step ends a task for a retry without a pause, and finds another lease of its worker expired
        810905,  # a task whose context does not fit ends by itself after its cancel was accepted
    ],
)
def test_what_a_judge_once_took_for_a_breach_is_none(seed: int) -> None:
    assert not simulate(seed).findings
