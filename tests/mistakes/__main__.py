"""`python -m tests.mistakes [ID ...]`: make each mistake, see the doctor find it, and show what dangerous ones cost.

The last results of each are kept in tests/mistakes/last_run.json, from which docs/reference/doctor-proof.md is written.

Exit codes: 0 if every mistake is found alone and every run has its verdict, 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from harness.checkers.base import Verdict
from harness.environments.embedded import EmbeddedEnvironment
from tests.mistakes.clinic import opened_clinic
from tests.mistakes.dangers import DANGERS, Danger
from tests.mistakes.finding import FoundMistake, found
from tests.mistakes.listed import MISTAKES
from tests.mistakes.matrix import PAGE, ShownDanger, keep
from tests.mistakes.trial import run_trial, shown

Report = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mistakes", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="checks whose mistakes are made; all by default")
    ids = parser.parse_args(arguments).ids
    known = {one.id for one in MISTAKES} | {one.id for one in DANGERS}
    if unknown := sorted(set(ids) - known):
        parser.error(f"no mistake is of {unknown[0]!r}; choose from {', '.join(sorted(known))}")
    began = time.monotonic()

    def report(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {text}\n")
        sys.stderr.flush()

    finds = list(_finds(ids or known, report))
    keep(finds)
    dangers = []
    for one in _shows(ids or known, report):
        keep(dangers=[one])
        dangers.append(one)
    PAGE.write()
    complaints = [f"{one.mistake.id}: {text}" for one in finds for text in one.complaints]
    complaints += [f"{one.id}: {text}" for one in dangers for text in one.complaints]
    for complaint in complaints:
        sys.stderr.write(f"mistakes: {complaint}\n")
    print(
        f"{len(finds)} mistakes found by {len({one.mistake.id for one in finds})} checks, {len(dangers)} shown"
    )
    return 1 if complaints else 0


def _finds(ids: Collection[str], report: Report) -> Iterator[FoundMistake]:
    chosen = [one for one in MISTAKES if one.id in ids]
    if not chosen:
        return
    with opened_clinic() as clinic:
        healthy = clinic.report()
        for mistake in chosen:
            one = found(clinic, healthy, mistake)
            report(f"{mistake.id} {mistake.grade}: {one.seen}")
            yield one


def _shows(ids: Collection[str], report: Report) -> Iterator[ShownDanger]:
    chosen = [one for one in DANGERS if one.id in ids]
    if not chosen:
        return
    with EmbeddedEnvironment() as environment:
        for danger in chosen:
            yield _show(danger, environment, report)


def _show(danger: Danger, environment: EmbeddedEnvironment, report: Report) -> ShownDanger:
    wrong, right = (run_trial(trial, environment) for trial in (danger.wrong, danger.right))
    one = ShownDanger(
        id=danger.id,
        mistake=danger.mistake,
        scenario=wrong.scenario,
        wrong=shown(wrong),
        right=shown(right),
        complaints=tuple(
            f"the run is {run.verdict} {place} the mistake, not {verdict}: {shown(run)}"
            for run, verdict, place in ((wrong, Verdict.INVALID, "with"), (right, Verdict.VALID, "without"))
            if run.verdict is not verdict
        ),
    )
    report(f"{danger.id}: {one.wrong} | {one.right} ({wrong.seconds:.0f} + {right.seconds:.0f} s)")
    return one


if __name__ == "__main__":
    raise SystemExit(main())
