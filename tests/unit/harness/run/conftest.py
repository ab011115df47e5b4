"""The fixture of the runs of a small target."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.checkers import standard
from harness.load.planned_load import PlannedLoad
from harness.processes import is_alive
from harness.progress import Progress, Quiet
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import PoolNeeds, Scenario, ScenarioRun
from harness.workloads.numbered_tasks import NumberedTasks
from tests.support.instant_target import Instant, NoFault, Nowhere, QuietMachine, Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr("harness.run.runner.MachineGauge", QuietMachine)
    with tempfile.TemporaryDirectory(prefix="hx-") as folder:

        def run(
            target: Instant,
            *faults: NoFault,
            timeout: float = 30.0,
            asked: float | None = None,
            stall: float | None = 0.3,
            work: float = 0.0,
            progress: Progress | None = None,
            load: PlannedLoad | None = None,
            history: Path = tmp_path,
            **servers: Any,
        ) -> ScenarioRun:
            scenario = Scenario(
                name="test",
                summary="a test",
                workload=NumberedTasks(rate=400.0, work=(work, work)),
                faults=faults,
                checkers=standard(recovery_p99=None),
                pool=PoolNeeds(workers=1, lease=0.1),
                timeout=timeout,
            )
            environment: Any = Nowhere(folder=Path(folder), **servers)
            try:
                return run_scenario(
                    scenario,
                    environment,
                    target,
                    RunOptions(seed=1, tasks=40, stall=stall, timeout=asked, load=load),
                    history_folder=history,
                    progress=progress or Quiet(),
                )
            finally:
                assert list(Path(folder).iterdir()) == [], "the run's working folder is still there"
                assert not [pool for pool in target.pools if is_alive(pool.pid)], "a pool still runs"

        yield run
