"""`harness simulate --bounded`: every fault at every call of six lives of a task, alone and in pairs."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence

from harness.cli.simulate_again import simulate_again
from harness.cli.written import write_text
from harness.errors import EXIT_INVALID, EXIT_VALID, UsageError
from harness.history.figures import counted
from harness.progress import progress_on
from harness.report import locked_folder

MOST_FAULTS = 2
# A search ends early after so many findings.
_STOP_AFTER = 5


def bounded(options: Namespace) -> int:
    """Run it; returns 0 without findings, 1 with findings."""
    from harness.simulation.lives import LIVES

    if unknown := sorted(set(options.bounded) - LIVES.keys()):
        raise UsageError(f"There is no life {unknown[0]!r}. Choose from {', '.join(LIVES)}.")
    with locked_folder(options.report):
        return _bounded(options, options.bounded or list(LIVES))


def _bounded(options: Namespace, lives: Sequence[str]) -> int:
    from harness.simulation.bounded import prove
    from harness.simulation.campaign import jobs_by_default

    faults, jobs = options.faults or MOST_FAULTS, options.jobs or jobs_by_default()
    with progress_on() as progress:
        progress.step(f"{len(lives)} lives: {', '.join(lives)}; up to {counted(faults, 'fault')}")
        proof = prove(lives, faults=faults, jobs=jobs, log=progress.step, stop_after=_STOP_AFTER)
    for life, runs in proof.runs.items():
        counts = [f"{runs[number]:,} with {counted(number, 'fault')}" for number in sorted(runs)]
        print(f"{life + ':':<9} {', '.join(counts)}")
    for number, found in enumerate(proof.failing, start=1):
        path = options.report / f"bounded-{number}.json"
        write_text(path, json.dumps(found["plan"], indent=1) + "\n")
        again = simulate_again(options, "--replay", str(path), "--explain")
        print(f"{found['life']}: {found['found']}\n    {again}")
    path = options.report / "bounded.json"
    write_text(path, json.dumps(proof.to_json(), indent=1) + "\n")
    print(
        f"{counted(proof.total, 'simulated run')}, {len(proof.failing)} with findings; {proof.seconds:.0f} s, "
        f"{60 * proof.total / max(proof.busy, 1e-9):.0f} runs per minute and core\nreport:  {path}"
    )
    return EXIT_INVALID if proof.failing else EXIT_VALID
