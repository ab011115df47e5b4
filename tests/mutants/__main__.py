"""`python -m tests.mutants [PATTERN ...] [--sample N --seed S] [--means NAME ...]`: judge mutants by each means alone.

A pattern is a part of a mutant's name, such as `lua/step.lua` or `agentexec.worker`. Prints a line for each judgement,
then a table of scores by means, and the names of the survivors. `--state` keeps what was judged and goes on there the
next time; what each means reaches is kept beside it.

Exit codes: 0 (a survivor is for a person to read), 64 wrong usage, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.command_line import Parser, above_zero, exit_code_of, filled_path, job_count, positive, whole
from harness.errors import UsageError
from tests.mutants.forks import judge
from tests.mutants.line_trace import LineTrace
from tests.mutants.means import MEANS
from tests.mutants.mutate import Mutant
from tests.mutants.reach import Reach, able, modules, units_of
from tests.mutants.scores import (
    ALL,
    DETECTED,
    ENDLESS,
    SURVIVED,
    UNREACHED,
    Outcome,
    append,
    known,
    survivors,
    table,
)
from tests.mutants.sources import equivalent, mutants
from tests.planted.edits import Edit, applied

ROOT = Path(__file__).parents[2]
SOURCES = ("agentexec", "harness", "tests")
PROFILE = "mutation"  # the same examples for each mutant
MEASURE_SECONDS = 600
_MOST_MINUTES = 100_000
CLEAN = "the implementation without a mutant"

Job = tuple[Mutant, str, Sequence[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    return exit_code_of("mutants", lambda: _judged(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--sample", type=positive, metavar="N", help="judge so many of them")
    parser.add_argument("--seed", type=whole, default=1, metavar="S", help="of the sample")
    parser.add_argument(
        "--only", type=filled_path, metavar="FILE", help="mutants that this state of another run has"
    )
    parser.add_argument("--means", action="append", choices=[*MEANS], help="default: all of them")
    parser.add_argument(
        "--minutes", type=_minutes, default=600, metavar="M", help="when to stop; 0: only the table"
    )
    parser.add_argument("--at-once", type=job_count, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--state", type=filled_path, default=Path("mutants/protocol.jsonl"), metavar="FILE")
    options = parser.parse_args(arguments)
    for path in (options.only, options.state):
        if path is not None and path.exists() and not path.is_file():
            parser.error(f"{path} is no file of judgements")
    if options.only is not None and not options.only.exists():
        parser.error(f"there is no file {options.only}")
    return options


def _minutes(text: str) -> float:
    return 0.0 if text == "0" else above_zero(_MOST_MINUTES)(text)


def _judged(options: Namespace) -> int:
    ends = time.monotonic() + options.minutes * 60
    chosen = [m for m in mutants() if not options.patterns or any(p in m.name for p in options.patterns)]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.only:
        judged = {name for name, _ in known(options.only)}
        chosen = [mutant for mutant in chosen if mutant.name in judged]
    if not chosen:
        raise UsageError("No mutant is chosen. Give other patterns, or none for all of them.")
    read = equivalent()
    print(f"{len(chosen)} mutants, {sum(m.name in read for m in chosen)} of them equivalent", flush=True)
    chosen = [mutant for mutant in chosen if mutant.name not in read]
    means = options.means or [*MEANS]
    if options.minutes:
        run(chosen, means, options.state, options.at_once, ends)
    by_mutant = known(options.state)
    outcomes = [by_mutant[m.name, one] for one in means for m in chosen if (m.name, one) in by_mutant]
    if not outcomes:
        raise UsageError(f"{options.state} has no judgement of these mutants yet. Give more --minutes.")
    print("", *table(outcomes), sep="\n")
    for one in [*means, ALL]:
        print("", f"Not noticed by {one}:", *survivors(outcomes, one), sep="\n")
    return 0


def run(chosen: Sequence[Mutant], means: Sequence[str], state: Path, at_once: int, ends: float) -> None:
    """Judge what was not judged yet, until that time."""
    reaches = {one: reach(one, state.parent) for one in means}
    judged = known(state)
    entered = [(m, one) for m in chosen for one in means if able(one, m, reaches[one])]
    open_ones = [(m, one) for m, one in entered if (m.name, one) not in judged]
    outside = len(chosen) - len({m.name for m, _ in entered})
    print(f"{outside} of the others are in functions that none of these means enters", flush=True)

    def jobs() -> Iterator[Job]:
        for mutant, one in open_ones:
            if time.monotonic() >= ends:
                return
            units = units_of(mutant, reaches[one])
            if units:
                yield mutant, one, units
            else:
                append(state, outcome(mutant, one, UNREACHED))

    for number, answer in enumerate(judge(jobs(), detail, at_once), 1):
        mutant, one, _ = answer.job
        kind = ENDLESS if answer.endless else DETECTED if answer.detail else SURVIVED
        found = outcome(mutant, one, kind, answer.detail or "", answer.seconds)
        append(state, found)
        print(
            f"{number} of at most {len(open_ones)}: {mutant.name}: {one}: {kind} {found.detail}", flush=True
        )


def outcome(mutant: Mutant, means: str, kind: str, detail: str = "", seconds: float = 0.0) -> Outcome:
    """A line of the state."""
    return Outcome(
        mutant=mutant.name,
        part=mutant.part,
        means=means,
        outcome=kind,
        detail=detail,
        seconds=round(seconds, 2),
    )


def detail(job: Job) -> str | None:
    """What shows a mutant, in a process of its own; raises what `tests.planted.edits.applied` does."""
    mutant, means, units = job
    os.environ["HYPOTHESIS_PROFILE"] = PROFILE
    with applied([Edit(where=mutant.where, old="", new=mutant.text, whole=True)]):
        try:
            return MEANS[means](units, None)
        except BaseException as error:  # a means that breaks down has noticed the mutant
            return f"{type(error).__name__}: {error}"


def reach(means: str, folder: Path) -> Reach:
    """What a means reaches: measured once for the same sources."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{means.replace(' ', '-')}-{_digest()}.json"
    if not path.exists():
        for answer in judge(iter([(means, path)]), _measure, 1, MEASURE_SECONDS):
            if answer.detail is not None:
                raise RuntimeError(f"{means} does not hold for {CLEAN}: {answer.detail}")
    return Reach.load(path)


def _measure(job: tuple[str, Path]) -> str | None:
    means, path = job
    os.environ["HYPOTHESIS_PROFILE"] = PROFILE
    trace = LineTrace(modules())
    wrong = MEANS[means](None, trace)
    Reach.of(trace).save(path)
    return wrong


def _digest() -> str:
    """A name for the present sources."""
    paths = sorted(
        path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".lua"}
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
