"""`python -m tests.planted [NAME ...]`: every defect under every means, and the true implementation as well.

Prints the table and writes its rows into docs/design/planted.md. The row of the true implementation is written only
without names, because it needs every chaos run. Exit code 1 if a defect was missed by a means that is able to find it,
or if anything was found in the true implementation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.environments import make_environment
from tests.planted.campaign import TRUTH, Campaign
from tests.planted.courses import COURSES
from tests.planted.defects import DEFECTS
from tests.planted.table import table, write

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "design" / "planted.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="defects to look for; all of them by default"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(DEFECTS))
    if unknown:
        parser.error(f"there is no planted defect {unknown[0]!r}; choose from {', '.join(DEFECTS)}")
    chosen = {name: DEFECTS[name] for name in DEFECTS if name in options.names or not options.names}
    began = time.monotonic()

    def tell(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {text}\n")
        sys.stderr.flush()

    tell("starting Postgres and Redis")
    with make_environment("embedded") as environment:
        campaign = Campaign(environment, tell)
        for defect in chosen.values():
            campaign.look_for(defect)
        campaign.look_at_the_truth({defect.scenario for defect in chosen.values()} & set(COURSES))
    text = table(campaign.results, DEFECTS)
    print(text)
    order = [*DEFECTS, TRUTH]
    if options.names:
        shown = {name: looks for name, looks in campaign.results.items() if name != TRUTH}
        write(DOCUMENT, table(shown, DEFECTS), order)
    else:
        write(DOCUMENT, text, order)
    for complaint in campaign.complaints:
        sys.stderr.write(f"planted: {complaint}\n")
    return 1 if campaign.complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
