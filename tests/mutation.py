"""Mutation testing within a time: `python -m tests.mutation [PATTERN ...] [--minutes N]`, what `nox -s mutation` runs.

mutmut changes one thing at a time in the modules that pyproject.toml names (`[tool.mutmut]`) and runs the tests that
reach it. It is ended after so many minutes, keeps what it has judged under mutants/, and goes on there the next time.
The score of a module is the share of its judged mutants that some test noticed; beside it is how many were judged.

mutmut hands pytest the tests of a mutant in any order; as a plugin of pytest this module puts the generated ones last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

MUTANTS = Path("mutants")
# What mutmut notes of a mutant is the exit code of its tests: 0 is a survivor, 5 and 33 mean that no test reaches it,
# None, 2 and 34 that it was not run to its end. All others are failed tests, or the signal that ends an endless loop:
# it comes after wall time, so on a busy machine it can end a mutant that no test detects.
SURVIVED, UNREACHED, WAITING, TIMED_OUT = {0}, {5, 33}, {None, 2, 34}, {24, -24, 36, 152, 255}


@dataclass(frozen=True, kw_only=True)
class Score:
    """One module's mutants. `noticed` are those that made a test fail or stop, `timed_out` those of them that were
    ended because their tests took too long.
    """

    module: str
    noticed: int
    timed_out: int
    survived: int
    unreached: int
    waiting: int

    @property
    def judged(self) -> int:
        return self.noticed + self.survived + self.unreached

    @property
    def percent(self) -> float | None:
        return 100 * self.noticed / self.judged if self.judged else None


def score_of(module: str, exit_codes: Iterable[int | None]) -> Score:
    """Count what mutmut wrote down; None is a mutant that was not run yet."""
    kinds = Counter(_kind(code) for code in exit_codes)
    return Score(
        module=module,
        noticed=kinds["noticed"] + kinds["timed out"],
        timed_out=kinds["timed out"],
        survived=kinds["survived"],
        unreached=kinds["unreached"],
        waiting=kinds["waiting"],
    )


def scores(folder: Path) -> list[Score]:
    """The scores of all modules that have mutants, in the order of their names."""
    found = []
    for meta in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        if codes:
            found.append(score_of(str(meta.relative_to(folder)).removesuffix(".meta"), codes.values()))
    return found


def table(found: Iterable[Score]) -> str:
    """Markdown, one line for each module."""
    lines = [
        "| module | judged | noticed | by time | survived | unreached | not run | score |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in found:
        percent = "" if s.percent is None else f"{s.percent:.0f} %"
        numbers = f"{s.judged} | {s.noticed} | {s.timed_out} | {s.survived} | {s.unreached} | {s.waiting} | {percent}"
        lines.append(f"| `{s.module}` | {numbers} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run mutmut for its time and print the scores; 0 also where mutants survived, since they want to be read."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "patterns", nargs="*", help="mutants to run, for example 'harness.simulation.queue.step*'; else all"
    )
    parser.add_argument("--minutes", type=float, default=60, help="when to stop (60)")
    parser.add_argument(
        "--children", type=int, default=os.cpu_count(), help="how many at once (one for each core)"
    )
    options = parser.parse_args(arguments)
    command = [
        sys.executable,
        "-m",
        "mutmut",
        "run",
        "--max-children",
        str(options.children),
        *options.patterns,
    ]
    environment = os.environ | {"HYPOTHESIS_PROFILE": "mutation"}
    # A shell starts background processes with this signal ignored, and every child inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    discard_unfinished(MUTANTS)
    running = subprocess.Popen(command, env=environment)
    try:
        running.wait(options.minutes * 60)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)  # it ends its children and keeps its notes
        running.wait()
        sys.stderr.write(f"stopped after {options.minutes:g} minutes; the next run goes on from here\n")
    else:
        if running.returncode != 0:
            return running.returncode
    sys.stdout.write(table(scores(MUTANTS)) + "\n")
    return 0


def discard_unfinished(folder: Path) -> None:
    """Throw away mutants of a run that was ended while it wrote them, before it had judged any: mutmut would take
    half a file for a whole one.
    """
    if folder.exists() and not (folder / "mutmut-stats.json").exists():
        shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that generate their examples come last, since they cost a hundred times as much as the others."""
    items.sort(key=lambda item: generates(item.path))


def generates(path: Path) -> bool:
    """Whether the tests of a file make their examples up, by its name."""
    return "properties" in path.parts or "properties" in path.name


def _kind(code: int | None) -> str:
    if code in WAITING:
        return "waiting"
    if code in SURVIVED:
        return "survived"
    if code in TIMED_OUT:
        return "timed out"
    return "unreached" if code in UNREACHED else "noticed"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
