"""`python -m tests.planted.postgres [NAME ...]`: defects that only Postgres's form of a statement has.

Each meets the same schedules twice: with the statements of SQLite, which must find nothing, and on a real Postgres.
Prints a line for each, and writes the table into docs/design/planted.md.

Exit codes: 0 if every result is as expected, 1 if the schedules on Postgres found nothing, or those on SQLite
something.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from harness.simulation.postgres.driven import OWN, on_postgres
from tests.planted.__main__ import DOCUMENT
from tests.planted.defects.postgres import OF_POSTGRES
from tests.planted.searches import Search, simulation
from tests.planted.table import density, write

BEGIN, END = (
    "<!-- Postgres only: made by python -m tests.planted.postgres -->",
    "<!-- end of Postgres only -->",
)
HEAD = ["| defect | what it breaks | on SQLite | on Postgres |", "|---|---|---|---|"]


def row(name: str, on_sqlite: Search, on_postgres: Search) -> str:
    """The row of a defect."""
    cells = [OF_POSTGRES[name].breaks, *(_cell(search) for search in (on_sqlite, on_postgres))]
    return f"| `{name}` | {' | '.join(cells)} |"


def _cell(search: Search) -> str:
    return f"{search.found or 'nothing'}: {density(search.hits, search.tries)}"


def _searched(names: Sequence[str]) -> Mapping[str, Search]:
    found = {}
    for name in names:
        with OF_POSTGRES[name].planted():
            found[name] = simulation()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted.postgres", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects; by default all of them")
    names = parser.parse_args(arguments).names or list(OF_POSTGRES)
    if unknown := sorted(set(names) - OF_POSTGRES.keys()):
        parser.error(f"there is no planted defect {unknown[0]!r}; choose from {', '.join(OF_POSTGRES)}")
    on_sqlite = _searched(names)
    with on_postgres(OWN):
        here = _searched(names)
    rows = [row(name, on_sqlite[name], here[name]) for name in names]
    print("\n".join(rows))
    write(DOCUMENT, "\n".join([*HEAD, *rows]), list(OF_POSTGRES), begin=BEGIN, end=END)
    return int(any(on_sqlite[name].found or not here[name].found for name in names))


if __name__ == "__main__":
    sys.exit(main())
