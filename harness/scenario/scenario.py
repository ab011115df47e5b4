"""A scenario combines a workload, faults and checkers in one frozen value; a `ScenarioRun` is the result of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.environments.base import ServerVersions, Service, Topology
from harness.faults.base import Fault
from harness.history import History
from harness.llm.profile import EndpointProfile
from harness.workloads.base import Workload

TASKS = 240
"""The tasks of a run that is not asked for another number."""

SMOKE, RELEASE, SOAK = "smoke", "release", "soak"
"""The tags of the scenarios that ship."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolNeeds:
    """How the pools of a scenario are configured. Times are seconds.

    `versions` of the application, of each pool in the order of their start; the last one holds for all later pools.
    """

    workers: int = 2
    concurrency: int = 4
    lease: float = 5.0
    graceful_shutdown: float = 10.0
    versions: tuple[int, ...] = (2,)

    @property
    def slots(self) -> int:
        """How many tasks one pool runs at a time."""
        return self.workers * self.concurrency


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One experiment: `faults` are injected in order while the workload runs.

    `tags` choose scenarios together: those of `smoke` are short, `release` asks everything that a release has to
    survive, and `soak` runs for long.
    `timeout` (seconds) bounds the whole run, which submits `tasks` unless it is asked for another number.
    `destructive` scenarios run on external servers only if they are named and allowed. `own_servers` marks faults
    that freeze or empty a whole server, and so affect other data on it: such a scenario never runs on external
    servers. The target reaches the servers in `proxied` through a proxy of the harness (`harness.wire`). A scenario
    with a `topology` has servers of its own in that topology. As many `producers` as it asks for submit the tasks, each
    in a process of its own; with 0 the runner does it. The handlers call an LLM `endpoint`, which the run serves.
    """

    name: str
    summary: str
    workload: Workload
    faults: tuple[Fault, ...]
    checkers: Mapping[str, Checker]
    pool: PoolNeeds = field(default_factory=PoolNeeds)
    destructive: bool = True
    own_servers: bool = False
    proxied: tuple[Service, ...] = ()
    topology: Topology | None = None
    producers: int = 0
    endpoint: EndpointProfile | None = None
    timeout: float = 60.0
    tasks: int = TASKS
    tags: tuple[str, ...] = (RELEASE,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioRun:
    """The result of one run of a scenario: everything that a report needs.

    `repeat` is the command that runs it again; `seconds` is its wall time; `error` is set if the run broke down before
    its history was complete. `notes` are sentences about the load of the run. `seed` is None for a history whose seed
    is not recorded. A `skipped` one was chosen with others and not run, because its faults cannot strike the target or
    the run cannot have its servers: its verdict is NOT ASKED, and its only result says why.
    """

    scenario: str
    summary: str
    backend: str
    target: str
    target_version: str
    seed: int | None
    tasks: int
    servers: ServerVersions
    history: History
    results: Mapping[str, CheckResult]
    seconds: float
    repeat: str
    history_path: Path | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def verdict(self) -> Verdict:
        """The combined verdict of the checkers; at best UNKNOWN if `error` is set."""
        if self.skipped:
            return Verdict.NOT_ASKED
        found = [result.verdict for result in self.results.values()]
        return Verdict.combine(found if self.error is None else [*found, Verdict.UNKNOWN])
