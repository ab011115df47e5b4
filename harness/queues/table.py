"""The results of all cells as a table of targets and losses, with the agreement of repeats and the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.checkers.base import Verdict
from harness.history.promises import Loss
from harness.queues.cells import LOSSES
from harness.queues.result import Cell, CellResult
from harness.report.scales import DASH, seconds_text

NO_CELL, NOT_RUN = DASH, "not run"
# Of several verdicts with the same number of repeats, the first one counts.
_WORST_FIRST = (Verdict.INVALID, Verdict.UNKNOWN, Verdict.NOT_ASKED, Verdict.VALID)


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """All repeats of one cell, in their order; at least one."""

    runs: Sequence[CellResult]

    @property
    def first(self) -> CellResult:
        """The first repeat that has the verdict of the cell."""
        return next(run for run in self.runs if run.verdict is self.verdict)

    @cached_property
    def verdict(self) -> Verdict:
        """The most frequent verdict; of several, the worst."""
        counts = Counter(run.verdict for run in self.runs)
        return max(_WORST_FIRST, key=lambda verdict: counts[verdict])

    @property
    def agreeing(self) -> int:
        """How many repeats have the verdict of the cell."""
        return sum(run.verdict is self.verdict for run in self.runs)

    @property
    def agrees(self) -> bool:
        """Whether all repeats have the same verdict."""
        return self.agreeing == len(self.runs)

    @property
    def share(self) -> str:
        """The agreement as text, as in `3 of 3`; empty without a repeat."""
        return f"{self.agreeing} of {len(self.runs)}" if len(self.runs) > 1 else ""

    @property
    def counted(self) -> Sequence[str]:
        """How many tasks were lost and stuck, as in `7 lost`; nothing without a verdict about them."""
        if self.verdict is Verdict.UNKNOWN:
            return []
        numbers = ((self.first.lost, "lost"), (self.first.stuck, "stuck"))
        return [f"{number} {word}" for number, word in numbers if number]

    @property
    def is_broken_promise(self) -> bool:
        """Whether the target breaks a promise in every repeat."""
        return self.agrees and self.verdict is Verdict.INVALID

    @property
    def is_unpromised_loss(self) -> bool:
        """Whether tasks are lost or stuck in every repeat of a loss that the target does not promise to survive."""
        gone = all(run.lost or run.stuck for run in self.runs)
        return self.agrees and self.verdict is Verdict.NOT_ASKED and gone


@dataclass(frozen=True, kw_only=True)
class Table:
    """The cells by target and loss, in the order of `targets` and `losses`; `planned` are those that can exist."""

    targets: Sequence[str]
    losses: Sequence[Loss]
    cells: Mapping[tuple[str, Loss], TableCell]
    planned: frozenset[tuple[str, Loss]]

    @classmethod
    def of(cls, results: Iterable[CellResult], planned: Iterable[Cell]) -> Table:
        """The table of the results; a planned cell without a result is shown as not run."""
        runs: dict[tuple[str, Loss], list[CellResult]] = {}
        for result in sorted(results, key=lambda one: one.cell.repeat):
            runs.setdefault((result.cell.target, result.cell.loss), []).append(result)
        wanted = [(cell.target, cell.loss) for cell in planned]
        keys = [*wanted, *runs]
        return cls(
            targets=tuple(dict.fromkeys(target for target, _ in keys)),
            losses=tuple(loss for loss in LOSSES if any(key[1] is loss for key in keys)),
            cells={key: TableCell(runs=found) for key, found in runs.items()},
            planned=frozenset(keys),
        )

    def row(self, target: str) -> Sequence[tuple[Loss, TableCell | None]]:
        """The cells of a target, None where there is no result."""
        return [(loss, self.cells.get((target, loss))) for loss in self.losses]

    def empty_text(self, target: str, loss: Loss) -> str:
        """What stands for a cell without a result."""
        return NOT_RUN if (target, loss) in self.planned else NO_CELL

    def some_result(self, target: str) -> CellResult | None:
        """A result of a target that has its version; None if no cell of it has run."""
        found = [cell.first for _, cell in self.row(target) if cell is not None]
        return next((one for one in found if one.version), found[0] if found else None)

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many cells have each verdict."""
        counted = Counter(cell.verdict for cell in self.cells.values())
        return {verdict: counted[verdict] for verdict in (Verdict.VALID, *_WORST_FIRST[:3])}

    @property
    def agreement(self) -> str:
        """In how many of the repeated cells all repeats agree, as a sentence; empty without repeats."""
        repeated = [cell for cell in self.cells.values() if len(cell.runs) > 1]
        if not repeated:
            return ""
        same = sum(cell.agrees for cell in repeated)
        return f"All repeats agree in {same} of {len(repeated)} cells ({same / len(repeated):.0%})."

    @property
    def broken_promises(self) -> Sequence[TableCell]:
        """The cells in which a target breaks a promise, in the order of the table."""
        return [cell for cell in self._ordered() if cell.is_broken_promise]

    @property
    def unpromised_losses(self) -> Sequence[TableCell]:
        """The cells in which tasks are lost although nothing is promised, in the order of the table."""
        return [cell for cell in self._ordered() if cell.is_unpromised_loss]

    def _ordered(self) -> Sequence[TableCell]:
        return [cell for target in self.targets for _, cell in self.row(target) if cell is not None]


def loss_text(loss: Loss) -> str:
    """The loss for people, as in `worker killed`."""
    return loss.replace("-", " ")


def cell_text(cell: TableCell) -> str:
    """The verdict with what was lost, as in `INVALID, 7 lost`."""
    return ", ".join([str(cell.verdict), *cell.counted])


def recovery_text(run: CellResult) -> str:
    """The p50 and the p99 of the recovery time, or a dash."""
    if run.recovery_p50 is None:
        return DASH
    return f"{seconds_text(run.recovery_p50)} / {seconds_text(run.recovery_p99)}"
