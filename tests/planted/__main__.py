"""`python -m tests.planted [--release] [NAME ...]`: search for every planted defect by every means, and without any.

Prints the table and writes its rows into docs/design/planted.md. The row without a defect is written only if no names
are given, because it needs every chaos run. With `--release` it runs the scenarios of that tag that have to find the
defects instead, and writes the second table.

Exit codes: 0 if every result is as expected, 1 if a means missed a defect that it can find or found one in the
implementation without a defect.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.environments import make_environment
from tests.planted import parts, release
from tests.planted.campaign import ORIGINAL, Campaign
from tests.planted.chaos_runs import CHAOS_RUNS
from tests.planted.defects import DEFECTS, EVERY, PLANTED
from tests.planted.table import place, table, write

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "design" / "planted.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="defects to look for; all of them by default"
    )
    parser.add_argument("--release", action="store_true", help="by the scenarios of --tag release")
    options = parser.parse_args(arguments)
    known = EVERY if options.release else DEFECTS
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"there is no planted defect {unknown[0]!r}; choose from {', '.join(known)}")
    chosen = {name: DEFECTS[name] for name in DEFECTS if name in options.names or not options.names}
    began = time.monotonic()

    def report(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {text}\n")
        sys.stderr.flush()

    report("starting Postgres and Redis")
    if options.release:
        with make_environment("embedded") as environment:
            text, complaints = release.search(options.names or list(known), environment, report)
        write(DOCUMENT, text, list(known), begin=release.BEGIN, end=release.END)
        return _answer(text, complaints)
    with make_environment("embedded") as environment:
        campaign = Campaign(environment, report)
        for defect in chosen.values():
            campaign.search_for(defect)
            found = {defect.name: campaign.results[defect.name]}
            write(DOCUMENT, table(found, DEFECTS), [*DEFECTS, ORIGINAL])  # at once: the rest takes long
        campaign.search_original(
            {run for defect in chosen.values() for run in (defect.scenario, *defect.also)}
            if options.names
            else CHAOS_RUNS
        )
    place(DOCUMENT, parts.table(PLANTED), parts.BEGIN, parts.END)
    text = table(campaign.results, DEFECTS)
    if not options.names:
        write(DOCUMENT, text, [*DEFECTS, ORIGINAL])
    return _answer(text, campaign.complaints)


def _answer(text: str, complaints: Sequence[str]) -> int:
    print(text)
    for complaint in complaints:
        sys.stderr.write(f"planted: {complaint}\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
