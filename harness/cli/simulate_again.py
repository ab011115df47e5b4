"""The command that simulates the same again."""

from __future__ import annotations

import shlex
from argparse import Namespace

from harness.cli.called import called_as
from harness.masking import masked


def simulate_again(options: Namespace, *arguments: str) -> str:
    """The command `harness simulate` with these arguments, as it was called and on the same kind of store."""
    url = options.postgres
    store = [] if url is None else ["--postgres", masked(url)] if url else ["--postgres"]
    return shlex.join([*called_as(["simulate"], options.given), *store, *arguments])
