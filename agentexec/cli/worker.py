"""`agentexec worker`: run a pool."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agentexec.cli import exits
from agentexec.cli.output import NegativeResult
from agentexec.cli.parsing import argument, command
from agentexec.worker.loading import load_pool
from agentexec.worker.reference import PoolReference


@command("worker", argument("pool", help="the pool to run, as package.module:pool"))
def _worker(options: argparse.Namespace) -> int:
    """Run a pool of worker processes."""
    sys.path.insert(0, str(Path.cwd()))
    reference = PoolReference.parse(options.pool)
    try:
        pool = load_pool(reference)
    except ModuleNotFoundError as error:
        if not error.name or not (reference.module or "").startswith(error.name):
            raise
        sentence = f"there is no module {error.name!r}; run the command where it can be imported."
        raise NegativeResult(sentence, exits.USAGE) from None
    pool.reference = reference
    return pool.run()
