"""`python -m tests.promises [NAME ...]`: break each promise on purpose, and see that what asks for it notices.

`--page` writes the table of docs/reference/promises.md and breaks nothing. Only the defects of the registry are run
here; the others it names are run by `nox -s planted` and by the tests of the invariants and of the simulation.

Exit codes: 0 if every defect was noticed, 1 if one was not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.promises.page import PAGE, placed, table
from tests.promises.registry import promises
from tests.support.breaks import Break
from tests.support.broken_copy import break_copy, run_broken

TASKS = "80"  # of a chaos run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="promises; all of them by default")
    parser.add_argument("--page", action="store_true", help="write the page and break nothing")
    options = parser.parse_args(arguments)
    known = promises()
    if unknown := sorted(set(options.names) - known.keys()):
        parser.error(f"there is no promise {unknown[0]!r}")
    if options.page:
        PAGE.write_text(placed(PAGE.read_text("utf-8"), table(known)), "utf-8")
        return 0
    edits = {n: p.edit for n, p in known.items() if p.edit is not None and n in (options.names or known)}
    missed = [name for name, edit in edits.items() if not _notices(name, edit)]
    print(f"{len(edits) - len(missed)} of {len(edits)} defects were noticed", *missed)
    return 1 if missed else 0


def _notices(name: str, edit: Break) -> bool:
    """Whether the test or scenario of a defect fails on a copy that has it; prints a line."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="promises-") as folder:
        if edit.test.startswith("scenario "):
            done = _run_scenario(edit, Path(folder))
        else:
            done = run_broken(edit, Path(folder), links=False)
    noticed = done.returncode == pytest.ExitCode.TESTS_FAILED
    print(f"{'noticed' if noticed else 'MISSED '} {name} ({time.monotonic() - began:.0f} s)", flush=True)
    if not noticed:
        print((done.stdout + done.stderr)[-2000:])
    return noticed


def _run_scenario(edit: Break, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the scenario of a defect; INVALID is exit code 1, like a failed test."""
    break_copy(edit, folder, links=False)
    name = edit.test.removeprefix("scenario ")
    command = [sys.executable, "-m", "harness", "chaos", "run", name, "--seed", "1", "--tasks", TASKS]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )


if __name__ == "__main__":
    sys.exit(main())
