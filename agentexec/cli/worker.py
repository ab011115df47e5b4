"""`agentexec worker`: run a pool."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from agentexec.cli import exits
from agentexec.worker.loading import load_pool
from agentexec.worker.reference import PoolReference


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    worker = commands.add_parser("worker", help="run a pool of worker processes")
    worker.add_argument("pool", help="the pool to run, as package.module:pool")
    worker.set_defaults(run=_worker)


def _worker(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(Path.cwd()))
    reference = PoolReference.parse(options.pool)
    try:
        pool = load_pool(reference)
    except ModuleNotFoundError as error:
        if error.name and (reference.module or "").startswith(error.name):
            print(
                f"agentexec: there is no module {error.name!r}; run the command where it can be imported.",
                file=sys.stderr,
            )
            return exits.USAGE
        raise
    pool.reference = reference
    return pool.run()
