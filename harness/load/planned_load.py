"""The load of a chaos run, as `--load` names it: its arrivals, its stages and its thresholds, before the run.

A reference to a module or to a locustfile is read in a process of its own: the import of Locust patches the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.load.baseline import baseline_of_scenario
from harness.load.expressions import stages_of
from harness.load.figures import KINDS
from harness.load.schedule import LoadSchedule
from harness.load.stages import LinearStage, Stage
from harness.load.thresholds import Threshold, check_rows, parse_all, texts_by_row
from harness.load.verdict import ALL
from harness.masking import masked
from harness.scenario import Scenario
from harness.workloads.scheduled_tasks import ScheduledTasks

MOST_ARRIVALS = 1_000_000
"""The most arrivals of a chaos run: its history and its verdict are in memory."""

ROWS = (*KINDS, ALL)
"""The rows of every chaos run; all but the last are also there for each name of a task."""

_IMPORT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class PlannedLoad:
    """A load before its run. `due` are the intended times of its arrivals, in seconds since the start.

    `text` is the value of `--load`. `stages` describe each stage by its `text`, its `seconds`, and its `rate` if that
    is constant. `thresholds` are the texts of the thresholds by row. `lateness` is the bound of the generator's own
    p99, in seconds. `baselines` are earlier loads by scenario.
    """

    text: str
    due: tuple[float, ...]
    stages: Sequence[Mapping[str, Any]]
    seconds: float
    seed: int
    pacing: str
    thresholds: Mapping[str, str]
    lateness: float
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        load: object,
        *,
        seed: int,
        thresholds: object,
        lateness: float,
        names: Collection[str] | None = (),
    ) -> PlannedLoad:
        """The load of a text: stages, or `module:NAME` or `file.py:NAME` of stages or of an `OpenShape`; or of stages.

        `thresholds` are what `texts_by_row` takes, and replace those of the module. `names` are those of the tasks of
        the target, None if they are not known before the run. Raises `UsageError`.
        """
        if isinstance(load, str):
            text, value = load, load_value(stages_of(load), seed) if "(" in load else _referred(load, seed)
        else:
            value = load_value(load, seed)
            text = _shown(value["stages"])
        own = value.pop("thresholds", {})
        given = texts_by_row(thresholds, "thresholds") or own
        _require_rows(parse_all(given), names)
        value["due"] = tuple(value["due"])
        return cls(text=text, thresholds=given, lateness=lateness, **value)

    def with_baseline(self, path: Path | None, scenarios: Iterable[str]) -> PlannedLoad:
        """The same load, compared with the earlier one of each scenario; raises `UsageError`."""
        parsed = parse_all(self.thresholds)
        found = {name: baseline_of_scenario(path, name, parsed) for name in scenarios}
        return replace(
            self, baselines={name: one.to_value() for name, one in found.items() if one is not None}
        )

    def applied(self, scenario: Scenario, seed: int) -> tuple[Scenario, int]:
        """The scenario whose tasks arrive at the times of this load, with the time for it; and how many there are."""
        workload = ScheduledTasks(tasks=scenario.workload, due=self.due)
        timeout = scenario.timeout + _RESERVE * self.seconds
        loaded = replace(scenario, workload=workload, timeout=timeout)
        return loaded, workload.number(seed)

    @property
    def note(self) -> str:
        """One sentence without its full stop, for the report."""
        return f"the load has {len(self.due):,} arrivals in {self.seconds:g} s: {_shown(self.stages)}"

    def to_value(self, scenario: str = "") -> dict[str, Any]:
        """As JSON, for the history of a scenario: without the times, which each task has."""
        names = ("text", "seconds", "seed", "pacing", "lateness")
        return {
            **{name: getattr(self, name) for name in names},
            "arrivals": len(self.due),
            "stages": [dict(one) for one in self.stages],
            "thresholds": dict(self.thresholds),
            **({"baseline": self.baselines[scenario]} if scenario in self.baselines else {}),
        }


def _shown(stages: Sequence[Mapping[str, Any]]) -> str:
    """The first stages as text."""
    first = ", ".join(str(one["text"]) for one in stages[:_SHOWN])
    return f"{first}, and {len(stages) - _SHOWN} more stages" if len(stages) > _SHOWN else first


def _require_rows(thresholds: Iterable[Threshold], names: Collection[str] | None) -> None:
    """Raise `UsageError` for a threshold of a row that no task of these names has."""

    def is_unknown(row: str) -> bool:
        kind, _, name = row.partition(" ")
        return row not in ROWS and (kind not in KINDS or (names is not None and name not in names))

    try:
        check_rows([one for one in thresholds if is_unknown(one.row)], ROWS)
    except UsageError as error:
        tasks = "the tasks of the target have no names"
        if names is None or names:
            known = "" if names is None else f": {', '.join(sorted(names))}"
            tasks = f"all but {ALL} also with the name of a task{known}"
        raise UsageError(f"{str(error).rstrip('.')}; {tasks}.") from None


_SHOWN = 5
# The time of the tasks after the faults is in proportion to that of the load.
_RESERVE = 1.25


def load_value(stages: Any, seed: int, pacing: Any = "poisson") -> dict[str, Any]:
    """What is known of a load from its stages, as JSON; raises `UsageError`."""
    schedule = LoadSchedule(stages=stages, seed=seed, pacing=pacing)
    seconds = schedule.seconds
    if seconds is None:
        raise UsageError("The load has no end, and a chaos run needs one; give its last stage a duration.")
    planned = schedule.planned(seconds)
    if planned > MOST_ARRIVALS:
        raise UsageError(
            f"The load has about {planned:,.0f} arrivals, and a chaos run takes {MOST_ARRIVALS:,} at most; "
            "shorten its stages, or put the load on with `harness load run`."
        )
    due = [arrival.intended for arrival in schedule.arrivals()]
    if not due:
        raise UsageError("The load has no arrival; give it a longer stage or a higher rate.")
    described = [
        {"text": place.stage.text, "seconds": place.stage.seconds, "rate": _constant_rate(place.stage)}
        for place in schedule.placed()
    ]
    return {
        "due": due,
        "stages": described,
        "seconds": seconds,
        "seed": seed,
        "pacing": schedule.pacing,
    }


def _constant_rate(stage: Stage) -> float | None:
    return stage.first if isinstance(stage, LinearStage) and stage.first == stage.last else None


def _referred(reference: str, seed: int) -> dict[str, Any]:
    """The load of a module or a file, which another process imports."""
    module, _, name = reference.rpartition(":")
    if not module or not name.isidentifier():
        raise UsageError(
            f"{masked(repr(reference))} names no load. Write stages, such as \"hold(20, '1m')\", or module:NAME or "
            "file.py:NAME of stages or of an OpenShape."
        )
    with tempfile.TemporaryDirectory(prefix="hx-load-") as folder:
        answer = Path(folder) / "load.json"
        said = _run([module, name, str(seed), str(answer)])
        try:
            value: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        except (OSError, ValueError):
            last = (said.strip().splitlines() or ["it ended without a word"])[-1]
            raise UsageError(f"{module} cannot be imported ({masked(last)}); correct its module.") from None
    if "error" in value:
        raise UsageError(value["error"])
    return value


def _run(arguments: Sequence[str]) -> str:
    """Run the reader; returns what it wrote to stderr."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        return subprocess.run(
            [sys.executable, "-m", "harness.load.shape_reader", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_IMPORT_SECONDS,
            check=False,
        ).stderr
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"{arguments[0]} was not imported within {_IMPORT_SECONDS:g} s; correct its module."
        ) from None
