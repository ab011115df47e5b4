"""A scenario: workload, faults and checkers put together as one frozen value, and what came of running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.environments.base import ServerVersions
from harness.history import History

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.workloads.base import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolNeeds:
    """How the pools of a scenario are set up. Times are seconds."""

    workers: int = 2
    concurrency: int = 4
    lease: float = 5.0
    graceful_shutdown: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One experiment. `faults` are injected in order while the workload runs; `timeout` (seconds) bounds
    the whole of it. `own_servers` says that they freeze or empty a whole server, and so what others keep there: such
    a scenario runs on servers of its own only.
    """

    name: str
    summary: str
    workload: Workload
    faults: tuple[Fault, ...]
    checkers: Mapping[str, Checker]
    pool: PoolNeeds = field(default_factory=PoolNeeds)
    destructive: bool = True
    own_servers: bool = False
    timeout: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioRun:
    """What came of one scenario: everything a report is made from.

    `repeat` is the command that runs it again; `seconds` is its wall time; `error` is set where the run
    broke down before its history was complete, and then the verdict is UNKNOWN.
    """

    scenario: str
    summary: str
    backend: str
    target: str
    target_version: str
    seed: int
    tasks: int
    servers: ServerVersions
    history: History
    results: Mapping[str, CheckResult]
    seconds: float
    repeat: str
    history_path: Path | None = None
    error: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict of the run: that of its checkers together, UNKNOWN where the run broke down or a line
        is missing.
        """
        if self.error is not None:
            found = [result.verdict for result in self.results.values()]
            return Verdict.combine([*found, Verdict.UNKNOWN])
        return Verdict.combine(result.verdict for result in self.results.values())
