"""The load that a command or a test asks for beside the faults of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.llm.metering import Metering
from harness.targets.base import Target

if TYPE_CHECKING:
    from harness.load.planned_load import PlannedLoad

LATENESS_SECONDS = 0.05
"""The bound of the generator's own p99 without another one."""

_EXTRA = "agentexec-harness[load]"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadRequest:
    """A load as it is asked for: a text or stages, and how it is judged.

    `thresholds` are texts with the row in front, or texts by row. `lateness` is the bound of the generator's own p99,
    in seconds. `baseline` is the report of an earlier load. `metering` bills tokens and money.
    """

    load: Any
    thresholds: Sequence[str] | Mapping[str, str] = ()
    lateness: float | None = None
    baseline: Path | None = None
    metering: Metering | None = None

    def planned(self, seed: int, target: Target, scenarios: Collection[str]) -> PlannedLoad:
        """The load of a run of these scenarios; raises `UsageError`, also if the extra `load` is missing."""
        try:
            from harness.load.bill import require_bill
            from harness.load.planned_load import PlannedLoad
            from harness.load.thresholds import parse_all
        except ModuleNotFoundError as error:
            raise UsageError(f"A load needs {error.name}. Install the extra: {_EXTRA}.") from None
        load = PlannedLoad.of(
            self.load,
            seed=seed,
            thresholds=self.thresholds,
            lateness=self.lateness or LATENESS_SECONDS,
            names=getattr(target, "task_names", None),
        )
        require_bill(parse_all(load.thresholds), self.metering)
        return load.with_baseline(self.baseline, scenarios)
