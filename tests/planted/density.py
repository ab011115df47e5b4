"""`python -m tests.planted.density [NAME ...]`: how many of 1,000 simulated schedules find each planted defect.

Every defect that the simulation can find meets the same schedules. Prints a line for each, and
writes the densities into the table of docs/design/planted.md, and into what `harness simulate` says of its worth. It
needs no servers.

Exit codes: 0 if every result is as expected, 1 if the simulation missed a defect that it can find.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.planted.__main__ import DOCUMENT
from tests.planted.defect import SIMULATION
from tests.planted.defects import DEFECTS
from tests.planted.searches import simulation
from tests.planted.table import density, replace_cells, write_densities


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted.density", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects; by default all it can find")
    names = parser.parse_args(arguments).names
    able = [name for name, defect in DEFECTS.items() if defect.tried([SIMULATION])]
    if unknown := sorted(set(names) - set(able)):
        parser.error(f"the simulation cannot find {unknown[0]!r}; choose from {', '.join(able)}")
    missed = 0
    for name in names or able:
        defect = DEFECTS[name]
        with defect.planted():
            search = simulation()
        wrong = not search.found and bool(defect.able([SIMULATION]))
        missed += wrong
        line = f"{search.found}: {density(search.hits, search.tries)}, {search.seconds:.0f} s"
        print(f"{'MISSED ' if wrong else ''}{name}: {line}", flush=True)
        replace_cells(DOCUMENT, SIMULATION, {name: search}, DEFECTS)
        write_densities(DOCUMENT)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
