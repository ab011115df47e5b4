"""`python -m tests.house`: print the figures of the house beside their limits, and the lines of each folder.

Exit codes: 0 if every figure is within its limit, 1 if not.
"""

from __future__ import annotations

import sys

from tests.house.counts import LIMITS, figures, lines_by_folder


def main() -> int:
    """Print the report; returns the exit code."""
    found = figures()
    for name, figure in found.items():
        print(f"{name:36} {figure:7,} of {LIMITS[name]:,}")
    print()
    for folder, lines in lines_by_folder().items():
        print(f"{folder:36} {lines:7,}")
    return int(any(figure > LIMITS[name] for name, figure in found.items()))


if __name__ == "__main__":
    sys.exit(main())
