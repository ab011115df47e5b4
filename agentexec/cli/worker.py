"""`agentexec worker`: run a pool."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import traceback
from pathlib import Path
from typing import Literal

from agentexec.cli.parsing import USAGE, NegativeResult, argument, command, number, print_error
from agentexec.core.fork_server import ForkServer

OPTIONS = ("num_workers", "worker_concurrency", "queue_name", "log_level")
LEVELS = ("debug", "info", "warning", "error", "critical")


@command(
    "worker",
    argument("pool", help="the pool to run, as package.module:pool"),
    argument(
        "--workers", dest="num_workers", type=number(int, 1, 1024), metavar="N", help="worker processes"
    ),
    argument(
        "--concurrency",
        dest="worker_concurrency",
        type=number(int, 1, 4096),
        metavar="N",
        help="tasks that one worker process runs at a time",
    ),
    argument("--queue", dest="queue_name", metavar="NAME", help="name of the queue"),
    argument("--log-level", type=str.lower, choices=LEVELS, help="lowest level of log entries"),
)
def _worker(options: argparse.Namespace) -> int:
    """Run a pool of worker processes; options win over the pool's module and the environment."""
    with ForkServer() as fork_server:
        fork_server.start()  # first: it imports while this process does
        gc.disable()  # a collection finds nothing during these imports
        from agentexec.ops.logs import set_up
        from agentexec.worker.loading import ImportFailed, load_pool
        from agentexec.worker.reference import PoolReference

        gc.enable()
        sys.path.insert(0, str(Path.cwd()))
        reference = PoolReference.parse(options.pool)
        try:
            pool = load_pool(reference)
        except ImportFailed as error:
            _explain(error.__cause__, reference.module or "")
            raise
        pool.reference, pool.fork_server = reference, fork_server
        given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
        pool.override(given)
        otherwise: Literal["text"] | None = None if logging.getLogger().handlers else "text"
        set_up(pool.settings.log_format or otherwise, level=pool.settings.log_level)
        return pool.run()


def _explain(error: BaseException | None, module: str) -> None:
    """Print the traceback of the module; raises `NegativeResult` if the module itself is what is not found."""
    if isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name):
        sentence = f"there is no module {error.name!r}; run the command where it can be imported."
        raise NegativeResult(sentence, USAGE) from None
    print_error("".join(traceback.format_exception(error)).rstrip("\n"), before="")
