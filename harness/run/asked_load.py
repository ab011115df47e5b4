"""The load that a command or a test asks for beside the faults of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkers.base import Checker
from harness.errors import UsageError
from harness.history import History
from harness.history.names import LOAD
from harness.llm.metering import Metering
from harness.scenario import ScenarioRun
from harness.targets.base import Target

if TYPE_CHECKING:
    from harness.load.planned_load import PlannedLoad

LATENESS_SECONDS = 0.05
"""The bound of the generator's own p99 without another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedLoad:
    """A load as it is asked for: a text or stages, and how it is judged.

    `thresholds` are texts with the row in front, one or several, or texts by row. `lateness` is the bound of the
    generator's own p99, in seconds. `baseline` is the report of an earlier load. `metering` bills tokens and money.
    """

    load: object
    thresholds: object = ()
    lateness: float | None = None
    baseline: Path | None = None
    metering: Metering | None = None

    def planned(self, seed: int, target: Target, scenarios: Collection[str]) -> PlannedLoad:
        """The load of a run of these scenarios; raises `UsageError`, also if the extra `load` is missing."""
        with _extra():
            from harness.load.bill import require_bill
            from harness.load.planned_load import PlannedLoad
            from harness.load.thresholds import parse_all
        load = PlannedLoad.of(
            self.load,
            seed=seed,
            thresholds=self.thresholds,
            lateness=self.lateness or LATENESS_SECONDS,
            names=getattr(target, "task_names", None),
        )
        require_bill(parse_all(load.thresholds), self.metering)
        return load.with_baseline(self.baseline, scenarios)


def checker_of_load(history: History) -> Mapping[str, Checker]:
    """The checker of the load of a history, none if it has no load; raises `UsageError` if the extra is missing."""
    if next(history.where(LOAD), None) is None:
        return {}
    with _extra():
        from harness.load.load_checker import recorded_load
    return recorded_load(history)


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"A load needs {error.name}. Install the extra: agentexec-harness[load].") from None


def write_loads(load: PlannedLoad | None, runs: Iterable[ScenarioRun], folder: Path) -> None:
    """Write the files of the load of each run below the folder of their report; raises `UsageError`."""
    if load is None:
        return
    from harness.load.run_files import write_run_load  # it needs the extra `load`

    for run in runs:
        write_run_load(run, folder)
