"""A cell of the table and its result, as a JSON file beside the cell's report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.checkers.asked import ASKED
from harness.checkers.base import Verdict
from harness.history.promises import Loss, Quote

FILE = "cell.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One target under one loss. `repeat` counts from 1."""

    target: str
    loss: Loss
    scenario: str
    repeat: int = 1

    @property
    def name(self) -> str:
        """Its name on the command line, as in `celery@late/worker-killed`."""
        return f"{self.target}/{self.loss}"

    @property
    def folder(self) -> Path:
        """The folder of its report, below that of the table."""
        return Path("cells", self.target.replace(":", "_").replace("/", "_"), self.loss, str(self.repeat))


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """What one run of a cell found. Times are seconds; None if the checker of a figure had nothing to measure.

    `why` is one sentence if the verdict is not VALID. `promise` is the broken one, in the words of the documentation.
    `settings` are those of the target, for people. `has_report` is False if the cell reached no verdict of its own.
    `skipped`: it was not run, because it could show nothing within its budget.
    """

    cell: Cell
    verdict: Verdict
    why: str
    command: str
    lost: int | None = None
    stuck: int | None = None
    doubled: int | None = None
    recovery_p50: float | None = None
    recovery_p99: float | None = None
    promise: Quote | None = None
    version: str = ""
    servers: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    has_report: bool = False
    skipped: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the cell need not be run again: it has a verdict of its own, or could not reach one in its budget."""
        return self.has_report or self.skipped

    def write(self, folder: Path) -> None:
        """Write the result whole or not at all; `folder` is that of the table."""
        path = folder / self.cell.folder / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", "utf-8")
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of `write`; raises `ValueError` or `KeyError` for any other content."""
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
        value["cell"]["loss"] = Loss(value["cell"]["loss"])
        quote = value["promise"]
        return cls(
            **{
                **value,
                "cell": Cell(**value["cell"]),
                "verdict": Verdict(value["verdict"]),
                "promise": None if quote is None else Quote(**quote),
            }
        )


def read_results(folder: Path) -> Iterator[CellResult]:
    """Every result below the folder of a table."""
    for path in sorted((folder / "cells").rglob(FILE)):
        yield CellResult.read(path)


def result_of(
    cell: Cell, scenario: Mapping[str, Any], *, command: str, settings: Mapping[str, str]
) -> CellResult:
    """The result of a cell from its scenario in verdict.json.

    The cell is NOT ASKED if the target does not promise that its tasks survive the loss, and nothing else is wrong. One
    fault is enough for it: a target that does not recover from the first one cannot be hit by the others.
    """
    checkers: Mapping[str, Mapping[str, Any]] = scenario["checkers"]
    verdict = Verdict(scenario["verdict"])
    delivery = checkers.get("delivery", {})
    unknown = {name for name, one in checkers.items() if one["verdict"] == Verdict.UNKNOWN} - {ASKED}
    if checkers.get("faults", {}).get("figures", {}).get("faults"):
        unknown.discard("faults")
    fine = verdict is Verdict.VALID or (verdict is Verdict.UNKNOWN and not unknown and not scenario["error"])
    if fine and delivery.get("verdict") == Verdict.NOT_ASKED:
        verdict = Verdict.NOT_ASKED
    figures = delivery.get("figures", {})
    recovery = checkers.get("recovery", {}).get("figures", {})
    broken = [one for one in checkers.values() if one["verdict"] == Verdict.INVALID and one.get("promise")]
    return CellResult(
        cell=cell,
        verdict=verdict,
        why=_why(verdict, scenario, checkers),
        command=command,
        lost=figures.get("lost"),
        stuck=figures.get("stuck"),
        doubled=figures.get("duplicated"),
        recovery_p50=recovery.get("p50"),
        recovery_p99=recovery.get("p99"),
        promise=Quote(**broken[0]["promise"]) if broken else None,
        version=scenario["target_version"],
        servers=scenario["servers"],
        settings=settings,
        seconds=float(scenario["figures"]["seconds"]),
        has_report=True,
    )


def _why(verdict: Verdict, scenario: Mapping[str, Any], checkers: Mapping[str, Mapping[str, Any]]) -> str:
    if verdict is Verdict.VALID:
        return ""
    if verdict is Verdict.UNKNOWN and scenario["error"]:
        return str(scenario["error"])
    # `delivery` first: it is what a cell asks.
    ordered = sorted(checkers.items(), key=lambda item: item[0] != "delivery")
    found = [f"{name}: {one['summary']}" for name, one in ordered if one["verdict"] == verdict]
    return found[0] if found else "no checker was run"
