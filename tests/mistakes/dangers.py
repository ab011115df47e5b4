"""Mistakes that endanger tasks, each with the run that shows the loss or the stall, and those that do not and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from chaos import SCENARIOS
from harness.checkers import delivery, poison, shutdown, standard
from harness.checkers.base import Checker
from harness.faults.base import Fault
from harness.faults.handler import PoisonTask
from harness.faults.handler import poison as poisoned
from harness.faults.pausing import PauseWorker
from harness.faults.process import ScaleToZero, SigtermPool
from harness.faults.restarting import RestartServer
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.generator import Arrival
from harness.workloads.numbered_tasks import NumberedTasks
from tests.mistakes.checkers import begins_once
from tests.mistakes.faults import (
    HostOfPostgresCrashes,
    MemoryFills,
    OrchestratorStops,
    SendsToRedis,
    SessionsBeginAgain,
    StopsForGood,
)
from tests.mistakes.trial import ROLE, Changed, Trial, by_statements, in_postgres, in_redis
from tests.planted.no_faults import SCENARIO as NO_FAULTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Danger:
    """A mistake that the check `id` finds; `wrong` shows what it costs, and `right` is the same run without it."""

    id: str
    mistake: str
    wrong: Trial
    right: Trial


_GRACEFUL = 3.0
_ONCE = {"once": begins_once()}
_POISONED = 0.1
_LONG = NumberedTasks(rate=8.0, work=(0.8, 1.6))
_SHORT = NumberedTasks(rate=20.0, work=(0.05, 0.25))
_POOL = PoolNeeds(workers=2, concurrency=4, lease=5.0, graceful_shutdown=_GRACEFUL)


def _run(
    base: str,
    *faults: Fault,
    workload: NumberedTasks = _SHORT,
    pool: PoolNeeds = _POOL,
    minimum: int | None = None,
    checkers: Mapping[str, Checker] = MappingProxyType({}),
) -> Scenario:
    """A scenario that ships with other faults; the checkers are the usual ones without those of kills."""
    asked = standard(recovery_p99=None, minimum_faults=len(faults) if minimum is None else minimum)
    return replace(
        SCENARIOS.get(base, NO_FAULTS),
        name=base,
        workload=workload,
        faults=faults,
        checkers={**asked, **checkers},
        pool=pool,
        own_servers=True,
        timeout=90.0,
    )


def _crashes(fsync: str) -> Trial:
    faults = (HostOfPostgresCrashes(at=0.3), HostOfPostgresCrashes(at=0.7))
    return Trial(scenario=_run("lose-postgres-tail", *faults), changed=in_postgres("fsync", fsync))


def _crash_of_tables(kind: str) -> Trial:
    names = ("agentexec_activity_log", "agentexec_activity")
    make = [f"ALTER TABLE {name} SET {kind}" for name in names]
    undo = [f"ALTER TABLE {name} SET LOGGED" for name in reversed(names)]
    fault = RestartServer(service="postgres", at=0.5, crash=True)
    return Trial(scenario=_run("restart-postgres", fault), changed=by_statements(make, undo))


def _fills(policy: str) -> Trial:
    scenario = _run("evict-redis", MemoryFills(at=0.3), MemoryFills(at=0.6), workload=_LONG, checkers=_ONCE)
    make, undo = (("CONFIG", "SET", "maxmemory-policy", one) for one in (policy, "noeviction"))
    return Trial(scenario=scenario, changed=in_redis([make], [undo]))


def _forgets(event: Fault, changed: Changed | None = None) -> Trial:
    """The event comes after the fourth crash of a task that may crash five times."""
    faults: tuple[Fault, ...] = (*[PoisonTask(at=_POISONED)] * 4, event, *poisoned(at=_POISONED, times=8))
    asked = {"delivery": delivery(allow_errors=True), "poison": poison()}
    pool = replace(_POOL, concurrency=1, lease=3.0)
    scenario = _run("poison-task-with-neighbours", *faults, pool=pool, minimum=5, checkers=asked)
    return Trial(scenario=scenario, changed=changed)


def _restarts(append_only: str) -> Trial:
    rewrite = ("CONFIG", "REWRITE")
    make, undo = (("CONFIG", "SET", "appendonly", one) for one in (append_only, "yes"))
    changed = in_redis([make, rewrite], [undo, rewrite])
    return _forgets(RestartServer(service="redis", at=_POISONED), changed)


def _flushes(database: int) -> Trial:
    return _forgets(SendsToRedis(at=_POISONED, command=("FLUSHDB",), database=database))


def _paused(lease: float) -> Trial:
    pool = replace(_POOL, lease=lease)
    fault = PauseWorker(at=0.4, seconds=4.0)
    return Trial(scenario=_run("pause-worker", fault, workload=_LONG, pool=pool, checkers=_ONCE))


def _stopped(grace: float) -> Trial:
    fault = OrchestratorStops(at=0.4, graceful=_GRACEFUL, grace=grace)
    checkers = {**_ONCE, "shutdown": shutdown(graceful=_GRACEFUL, margin=2.0)}
    return Trial(scenario=_run("rolling-deploy", fault, checkers=checkers))


def _drained(graceful: float) -> Trial:
    fault = SigtermPool(at=0.4, graceful=graceful, outlive=False)
    pool = replace(_POOL, graceful_shutdown=graceful)
    return Trial(scenario=_run("sigterm-drain", fault, workload=_LONG, pool=pool, checkers=_ONCE))


@dataclass(frozen=True, kw_only=True, slots=True)
class FailingTasks(NumberedTasks):
    """Every fourth task fails once."""

    def generator(self, *, seed: int, tasks: int, gated: Collection[int]) -> Iterator[Arrival]:
        for one in NumberedTasks.generator(self, seed=seed, tasks=tasks, gated=gated):
            fails = int(one.task.number % 4 == 0)
            yield replace(one, task=replace(one.task, fails=fails))


def _retried(retries: str) -> Trial:
    return Trial(
        scenario=_run("vary-tasks", workload=FailingTasks()),
        pools={"AGENTEXEC_MAX_TASK_RETRIES": retries},
    )


def _queue_named(variable: str) -> Trial:
    scenario = _run("no-faults")
    if variable == "AGENTEXEC_QUEUE_NAME":
        return Trial(scenario=scenario)
    return Trial(scenario=scenario, pools={"AGENTEXEC_QUEUE_NAME": None, variable: "mistake"})


def _again(base: str, *statements: str) -> Trial:
    fault = SessionsBeginAgain(at=0.4, role=ROLE, statements=statements)
    return Trial(scenario=_run(base, fault), by_role=True)


DANGERS = (
    Danger(
        id="postgres.fsync",
        mistake="`fsync = off`; the host crashes",
        wrong=_crashes("off"),
        right=_crashes("on"),
    ),
    Danger(
        id="postgres.primary",
        mistake="the role has `default_transaction_read_only = on`; sessions begin again",
        wrong=_again("read-only-postgres", f"ALTER ROLE {ROLE} SET default_transaction_read_only = on"),
        right=_again("read-only-postgres"),
    ),
    Danger(
        id="postgres.timeouts",
        mistake="the role has `statement_timeout = 1ms`; sessions begin again",
        wrong=_again("cancel-statements", f"ALTER ROLE {ROLE} SET statement_timeout = '1ms'"),
        right=_again("cancel-statements"),
    ),
    Danger(
        id="postgres.connections",
        mistake="the role may have 1 connection; sessions begin again",
        wrong=_again("exhaust-connections", f"ALTER ROLE {ROLE} CONNECTION LIMIT 1"),
        right=_again("exhaust-connections"),
    ),
    Danger(
        id="tables.rights",
        mistake="the role may not write the log",
        wrong=_again("terminate-backends", f"REVOKE INSERT ON agentexec_activity_log FROM {ROLE}"),
        right=_again("terminate-backends"),
    ),
    Danger(
        id="tables.logged",
        mistake="the tables are `UNLOGGED`; Postgres crashes",
        wrong=_crash_of_tables("UNLOGGED"),
        right=_crash_of_tables("LOGGED"),
    ),
    Danger(
        id="redis.maxmemory-policy",
        mistake="`maxmemory-policy allkeys-lru`; the memory is full",
        wrong=_fills("allkeys-lru"),
        right=_fills("noeviction"),
    ),
    Danger(
        id="redis.persistence",
        mistake="`appendonly no`; Redis is restarted, and forgets how often a task crashed",
        wrong=_restarts("no"),
        right=_restarts("yes"),
    ),
    Danger(
        id="redis.shared",
        mistake="another application has the same database and sends `FLUSHDB`: Redis forgets how often a task crashed",
        wrong=_flushes(database=0),
        right=_flushes(database=1),
    ),
    Danger(
        id="settings.lease",
        mistake="`AGENTEXEC_LEASE_SECONDS=2`; a worker is paused for 4 s",
        wrong=_paused(2.0),
        right=_paused(15.0),
    ),
    Danger(
        id="settings.graceful-timeout",
        mistake="`AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT=0`; a deployment",
        wrong=_drained(0.0),
        right=_drained(_GRACEFUL),
    ),
    Danger(
        id="settings.unknown-name",
        mistake="the pool has `AGENTEXEC_QUEUE_NAM`",
        wrong=_queue_named("AGENTEXEC_QUEUE_NAM"),
        right=_queue_named("AGENTEXEC_QUEUE_NAME"),
    ),
    Danger(
        id="tasks.workers",
        mistake="the only pool is stopped, and none starts",
        wrong=Trial(scenario=_run("scale-to-zero", StopsForGood(at=0.5, graceful=_GRACEFUL))),
        right=Trial(scenario=_run("scale-to-zero", ScaleToZero(at=0.5, graceful=_GRACEFUL))),
    ),
    Danger(
        id="tasks.settings-agree",
        mistake="the pools have `AGENTEXEC_MAX_TASK_RETRIES=0`; tasks fail once",
        wrong=_retried("0"),
        right=_retried("3"),
    ),
    Danger(
        id="files.stop-grace",
        mistake="SIGKILL comes 1 s after SIGTERM; a task runs 2 s, the time-out is 3 s",
        wrong=_stopped(1.0),
        right=_stopped(13.0),
    ),
)
