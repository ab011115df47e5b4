"""The chaos runs for planted defects: a scenario, the number of tasks, and variations of the workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from chaos import SCENARIOS
from harness.checkers import delivery, shutdown, standard
from harness.faults.base import Fault
from harness.faults.redis_memory import FailOverRedis, FlushRedis
from harness.scenario import Scenario
from harness.workloads.locked_tasks import LockedTasks
from harness.workloads.numbered_tasks import NumberedTasks
from tests.planted.no_faults import SCENARIO as NO_FAULTS
from tests.planted.target import Variation


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosRun:
    """One chaos run on embedded servers, with a defect or without one."""

    scenario: Scenario
    tasks: int
    variation: Variation = field(default_factory=Variation)


_DRAIN = SCENARIOS["sigterm-drain"]


def _drained(faults: tuple[Fault, ...]) -> Scenario:
    """Three of the five pools that the scenario stops: each takes as long as another pool takes to come up."""
    asked = standard(recovery_p99=None, minimum_faults=len(faults))
    graceful = _DRAIN.pool.graceful_shutdown
    stopping = shutdown(graceful=graceful, margin=2.0, minimum_running=len(faults))
    return replace(_DRAIN, faults=faults, checkers={**asked, "shutdown": stopping})


# A shutdown must not count as a crash: with no crash allowed, one that does buries the task.
_NO_CRASH = Variation(environment={"AGENTEXEC_MAX_CRASHES": "0"})
_PATIENT = {"AGENTEXEC_RETRY_BASE_SECONDS": "0.2", "AGENTEXEC_RETRY_CAP_SECONDS": "0.5"}
# With two workers of four slots each, tasks of so few before are still queued, running, or just complete.
_BACK = 6
_CANCELS = replace(
    NO_FAULTS,
    name="cancel-storm",
    summary="nearly every task is canceled a moment after it was submitted, whatever has become of it",
    checkers=standard(recovery_p99=None, minimum_faults=0) | {"delivery": delivery(allow_errors=True)},
)
_HEALING = Variation(environment={"AGENTEXEC_RECONCILE_SECONDS": "1"})
_FAILS_OVER = replace(
    SCENARIOS["flush-redis"],
    name="redis-fails-over",
    summary="Redis loses what it acknowledged in the last second, three times",
    faults=tuple(FailOverRedis(at=at, lag=1.0) for at in (0.2, 0.4, 0.6)),
)
# Every slot has a long task when Redis loses its memory: the next claims, in the old order, are of running tasks.
_EARLY = replace(
    SCENARIOS["flush-redis"],
    name="flush-redis-early",
    summary="Redis forgets everything while every slot is taken, three times",
    workload=NumberedTasks(rate=8.0, work=(1.0, 1.5)),
    faults=tuple(FlushRedis(at=at) for at in (0.2, 0.4, 0.6)),
)
# The record lets in one at a time of what asks one after the other, so only starts in the same turn can show that the
# queue does not. All tasks arrive in one submission; a worker with four free slots claims four of them, and there are
# three lock keys, so two of the four have the same.
_BURST = replace(
    NO_FAULTS,
    name="locked-burst",
    summary="all tasks arrive in one submission, and each has one of three lock keys",
    workload=LockedTasks(tasks=NumberedTasks(rate=100_000.0, work=(0.02, 0.1)), keys=3, locked=1.0),
    checkers=standard(recovery_p99=None, minimum_faults=0, uses=("effects", "locks")),
)
_TWICE = replace(
    NO_FAULTS,
    name="messages-sent-twice",
    summary="every dispatch is sent twice, as after a lost reply",
    checkers=standard(recovery_p99=None, minimum_faults=0),
    # Wires without rules change no verdict, with a defect or without.
    proxied=("redis", "postgres"),
)
_FAILS = replace(
    NO_FAULTS,
    name="failing-tasks",
    summary="every fourth task fails once and is tried again",
    checkers=standard(recovery_p99=None, minimum_faults=0),
)

# No defect needs their faults, which are those of the servers. The true implementation has to stand them.
OF_SERVERS = ("restart-redis", "restart-postgres", "terminate-backends", "lose-reply")

CHAOS_RUNS: Mapping[str, ChaosRun] = MappingProxyType(
    {
        "kill-worker": ChaosRun(scenario=SCENARIOS["kill-worker-mid-task"], tasks=40),
        "kill-worker-locked": ChaosRun(scenario=SCENARIOS["kill-worker-locked"], tasks=60),
        "locked-burst": ChaosRun(scenario=_BURST, tasks=60),
        "drain-pools": ChaosRun(scenario=_drained(_DRAIN.faults[:3]), tasks=60),
        "drain-pools-no-crash": ChaosRun(scenario=_drained(_DRAIN.faults[2:]), tasks=60, variation=_NO_CRASH),
        "pause-worker": ChaosRun(scenario=SCENARIOS["pause-worker"], tasks=60),
        "flush-redis": ChaosRun(scenario=SCENARIOS["flush-redis"], tasks=80),
        "flush-redis-early": ChaosRun(scenario=_EARLY, tasks=40),
        "redis-fails-over": ChaosRun(scenario=_FAILS_OVER, tasks=80, variation=_HEALING),
        "failing-tasks": ChaosRun(
            scenario=_FAILS, tasks=60, variation=Variation(failing=True, environment=_PATIENT)
        ),
        "messages-sent-twice": ChaosRun(scenario=_TWICE, tasks=60, variation=Variation(resend=True)),
        "cancel-storm": ChaosRun(scenario=_CANCELS, tasks=80, variation=Variation(cancels=_BACK)),
        **{name: ChaosRun(scenario=SCENARIOS[name], tasks=80) for name in OF_SERVERS},
    }
)
