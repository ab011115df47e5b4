"""`python -m tests.mutants [PATTERN ...] [--sample N --seed S] [--means NAME ...]`: judge mutants by each means alone.

A pattern is a part of a mutant's name, such as `lua/step.lua`. Prints a line for each mutant, then a table of scores by
means, and writes both to `--out` as JSON lines, which `--out` continues the next time.

Exit codes: 0; a survivor is for a person to read.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.mutants.mutate import Mutant
from tests.mutants.one import MEANS, able
from tests.mutants.sources import mutants

SECONDS = 240  # for one means; an endless loop in a script ends by it, and counts as detected
OUTCOMES = {0: "survived", 1: "detected"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--sample", type=int, metavar="N", help="judge so many of them")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample")
    parser.add_argument("--means", action="append", choices=[*MEANS], help="default: all of them")
    parser.add_argument("--out", type=Path, default=Path("mutants/scripts.jsonl"), metavar="FILE")
    options = parser.parse_args(arguments)
    chosen = [m for m in mutants() if not options.patterns or any(p in m.name for p in options.patterns)]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = _known(options.out)
    judged = {}
    for number, mutant in enumerate(chosen, 1):
        outcomes = known.get(mutant.name, {})
        for means in options.means or MEANS:
            if means not in outcomes and able(means, mutant.where):
                outcomes[means] = judge(mutant, means)
        judged[mutant.name] = outcomes
        with options.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"mutant": mutant.name, "outcomes": outcomes}) + "\n")
        words = ", ".join(f"{means} {outcome}" for means, outcome in outcomes.items())
        print(f"{number} of {len(chosen)}: {mutant.name}: {words}", flush=True)
    print("", *scores(judged.values()), sep="\n")
    return 0


def judge(mutant: Mutant, means: str) -> str:
    """`detected`, `survived` or `timed out`; a process that ends otherwise, as by a signal, has detected it."""
    command = [sys.executable, "-m", "tests.mutants.one", means]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(mutant)).encode(), capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return "timed out"
    return OUTCOMES.get(done.returncode, "detected")


def scores(judged: Iterable[Mapping[str, str]]) -> list[str]:
    """The score of each means alone, and of all together, as the lines of a table."""
    rows = ["| means | judged | detected | score |", "|---|--:|--:|--:|"]
    all_of_them = [*judged]
    columns = {means: [o[means] for o in all_of_them if means in o] for means in MEANS}
    columns["all together"] = [
        "survived" if set(outcomes.values()) == {"survived"} else "detected" for outcomes in all_of_them
    ]
    for means, outcomes in columns.items():
        if outcomes:
            detected = sum(outcome != "survived" for outcome in outcomes)
            rows.append(
                f"| {means} | {len(outcomes)} | {detected} | {100 * detected / len(outcomes):.0f} % |"
            )
    return rows


def _known(path: Path) -> dict[str, dict[str, str]]:
    """What an earlier run has judged, by the name of the mutant."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {row["mutant"]: row["outcomes"] for row in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main())
