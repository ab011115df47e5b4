"""The words that call the harness again in the same way, for the command that a run prints."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "HARNESS_REPEAT"
"""A wrapper sets it to the words that stand for `harness COMMAND` in its own call, as the noxfile does."""


def called_as(
    command: Sequence[str],
    given: Sequence[str] | None,
    *,
    environment: Mapping[str, str] = os.environ,
    argv: Sequence[str] | None = None,
    orig_argv: Sequence[str] | None = None,
) -> list[str]:
    """The words before the arguments: how this process was called, and the command (`chaos`, `run`).

    `given` are the arguments that the harness parsed, `argv` and `orig_argv` those of `sys`. If the process has other
    arguments, a program called the harness as a library: the words are those of `python -m harness` then. None stands
    for a request that no command line made.
    """
    if given is None:
        return ["harness", *command]
    if wrapper := environment.get(VARIABLE):
        return [*shlex.split(wrapper)]
    argv = sys.argv if argv is None else argv
    words = list(sys.orig_argv if orig_argv is None else orig_argv)
    own = [*argv[1:]] == [*given] and words[len(words) - len(given) :] == [*given]
    if not own:
        return [sys.executable, "-m", "harness", *command]
    before = words[: len(words) - len(given)]
    if Path(argv[0]).name == "harness" and "-m" not in before:
        before = [_script(argv[0], environment)]
        if environment.get("UV_RUN_RECURSION_DEPTH"):
            before = ["uv", "run", "harness"]
    return [*before, *command]


def _script(path: str, environment: Mapping[str, str]) -> str:
    """`harness` if a shell finds this script by that name, else its path."""
    found = shutil.which("harness", path=environment.get("PATH"))
    return "harness" if found is not None and Path(found).resolve() == Path(path).resolve() else path
