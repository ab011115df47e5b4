"""Runs cells, each in a process of its own with servers of its own, and writes each result as it comes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from harness.checkers.base import Verdict
from harness.errors import HarnessError
from harness.masking import masked
from harness.progress import Progress
from harness.queues.cells import BUDGET_SECONDS, POOL
from harness.queues.matrix import install, not_waited_for, settings_of
from harness.queues.result import Cell, CellResult, result_of
from harness.scenario import registry
from harness.scenario.run_plan import promises_of

# Beyond the budget of a cell: the start of servers, the first start of a target, the report.
_EXTRA_SECONDS = 90.0
_END_SECONDS = 20.0
_POLL_SECONDS = 0.1
_LOG = "harness.log"


@dataclass(kw_only=True, slots=True)
class CellRunner:
    """Runs cells into `folder`, `jobs` at a time, and begins none after `deadline` (by `time.monotonic`).

    A cell that shows nothing, for example because the machine was too slow, is run once more after all others; the
    second result counts.
    """

    folder: Path
    seed: int
    tasks: int
    jobs: int
    deadline: float
    progress: Progress
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self, cells: Sequence[Cell]) -> list[CellResult]:
        """The results of the cells that were begun; an interruption ends the running ones and is raised again."""
        found = {one.cell: one for one in self._run_all(cells)}
        if again := [
            cell for cell, one in found.items() if one.verdict is Verdict.UNKNOWN and not one.skipped
        ]:
            self.progress.step(f"{len(again)} cells show nothing; each is run once more")
            found |= {one.cell: one for one in self._run_all(again)}
        return list(found.values())

    def _run_all(self, cells: Sequence[Cell]) -> list[CellResult]:
        found: list[CellResult] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for done in as_completed([pool.submit(self._run_in_time, cell) for cell in cells]):
                    if (result := done.result()) is not None:
                        found.append(result)
                        self._report(result, len(found), len(cells))
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        return found

    def _run_in_time(self, cell: Cell) -> CellResult | None:
        if self._stopped.is_set() or time.monotonic() > self.deadline:
            return None
        result = self._run(cell)
        if not self._stopped.is_set():
            result.write(self.folder)
        return result

    def _run(self, cell: Cell) -> CellResult:
        command, skipped = self._command(cell), False
        text = shlex.join(["harness", *command])
        try:
            target = registry.target(cell.target)
            settings: Mapping[str, str] = settings_of(target)
            install(target, self.progress.step)
            reason = not_waited_for(cell, promises_of(target, POOL))
            skipped = reason is not None
        except HarnessError as error:
            settings, reason = {}, str(error)
        if reason is None:
            scenario = self._execute(cell, command)
            if not isinstance(scenario, str):
                return result_of(cell, scenario, command=text, settings=settings)
            reason = scenario
        return CellResult(
            cell=cell,
            verdict=Verdict.UNKNOWN,
            why=masked(reason),
            command=text,
            settings=settings,
            skipped=skipped,
        )

    def _command(self, cell: Cell) -> list[str]:
        numbers = {
            "--seed": self.seed + cell.repeat - 1,
            "--tasks": self.tasks,
            # Also for a target with few slots, which gets more time in proportion otherwise.
            "--timeout": round(BUDGET_SECONDS),
        }
        words = ["chaos", "run", cell.scenario, "--target", cell.target]
        return [*words, *(str(one) for pair in numbers.items() for one in pair)]

    def _execute(self, cell: Cell, command: Sequence[str]) -> Mapping[str, object] | str:
        """The scenario in the cell's verdict.json, or why there is none."""
        folder = self.folder / cell.folder
        folder.mkdir(parents=True, exist_ok=True)
        document = folder / "verdict.json"
        document.unlink(missing_ok=True)
        with (folder / _LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "harness", *command, "--report", str(folder)],
                stdin=subprocess.DEVNULL,
                # Summaries and annotations are for the job, not for each of its cells.
                env={name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")},
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach this process only, which then ends the cells in order.
                start_new_session=True,
            )
            in_time = self._ended(process, BUDGET_SECONDS + _EXTRA_SECONDS)
        if not in_time:
            return f"the cell did not end within {BUDGET_SECONDS + _EXTRA_SECONDS:g} s"
        if not document.exists():
            lines = (folder / _LOG).read_text("utf-8", errors="replace").strip().splitlines()
            return lines[-1] if lines else f"the cell ended with code {process.returncode} and wrote nothing"
        [scenario] = json.loads(document.read_text("utf-8"))["scenarios"]
        return dict(scenario)

    def _ended(self, process: subprocess.Popen[bytes], within: float) -> bool:
        """Wait for the end of a cell; after `within` seconds, or once the runner is stopped, end it in order."""
        deadline = time.monotonic() + within
        while process.poll() is None:
            if self._stopped.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    # The session's reaper removes what is left of the cell.
                    process.kill()
                    process.wait()
                return False
        return True

    def _report(self, result: CellResult, done: int, total: int) -> None:
        why = f": {result.why}" if result.why else ""
        repeat = f" ({result.cell.repeat})" if result.cell.repeat > 1 else ""
        self.progress.step(f"{done} of {total}: {result.cell.name}{repeat} {result.verdict}{why}")
