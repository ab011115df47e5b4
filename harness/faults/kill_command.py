"""A fault for workers that the harness has not started: a command of the user kills one of them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import GateError, UsageError
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers
from harness.history import InjectionKind
from harness.history.promises import Loss
from harness.masking import masked

PLACEHOLDERS = ("victim", "pod", "pid", "number")
"""What a kill command may name; the first three are the chosen victim."""

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_COMMAND_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class KillHook:
    """How to kill a worker: a command and, if it names a victim, the command that lists those there are.

    Both are split into words as a shell does, and run without one: what stands in place of a placeholder is never
    more than a part of one word.
    """

    command: tuple[str, ...]
    victims: tuple[str, ...] = ()

    @classmethod
    def of(cls, command: str, victims: str | None) -> KillHook:
        """Read both texts; raises `UsageError` for a placeholder or a program that does not exist."""
        hook = cls(
            command=_words(command, "--kill-command"),
            victims=() if victims is None else _words(victims, "--kill-victims"),
        )
        named = [name for word in hook.command for name in _PLACEHOLDER.findall(word)]
        for name in named:
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                raise UsageError(f"--kill-command has the placeholder {{{name}}}. Use {known}.")
        if not hook.victims and any(name != "number" for name in named):
            raise UsageError(
                "--kill-command names a victim, and nothing lists them. Add a command that prints them, such as "
                "--kill-victims 'kubectl get pods -l app=worker -o name' or 'cat worker.pid'."
            )
        return hook

    def strike(self, planned: PlannedFault) -> str | None:
        """Kill a victim that the schedule chooses, and return it; raises `GateError` if a command fails."""
        victim = None
        if self.victims:
            found = _output(self.victims, "--kill-victims").split()
            if not found:
                raise GateError("--kill-victims printed no victim. Check that your workers run.")
            victim = found[int(planned.draw * len(found))]
        values = dict.fromkeys(PLACEHOLDERS, victim or "") | {"number": str(planned.number)}
        words = [_PLACEHOLDER.sub(lambda name: values[name[1]], word) for word in self.command]
        _output(words, "--kill-command")
        return victim


@dataclass(frozen=True, kw_only=True, slots=True)
class KillByCommand:
    """Kill a worker of the user by `hook`; whatever runs it starts it again."""

    at: float
    hook: KillHook
    loss: Loss = Loss.WORKER_KILLED
    gated: bool = False
    name: str = "kill-command"
    kind: InjectionKind = InjectionKind.OTHER

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process of this machine that is known; the operation names the pool of the user."""
        return Aim(pids=(), pool=some_workers(context)[0])

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Run the commands; raises `GateError` if one fails."""
        victim = self.hook.strike(planned)
        if victim is not None:
            aim.found["victim"] = victim

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: the user's own supervisor replaces the worker."""


def _words(text: str, option: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{option} cannot be split into words: {error}. Correct its quotes.") from None
    if not words:
        raise UsageError(f"{option} is empty. Write a command, such as 'kubectl delete pod {{pod}}'.")
    if shutil.which(words[0]) is None:
        raise UsageError(f"{option} runs {words[0]}, which is not found. Install it, or give its path.")
    return words


def _output(words: Sequence[str], option: str) -> str:
    """What a command prints; raises `GateError` if it cannot be run, takes too long, or its exit code is not 0."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise GateError(f"{option} did not end within {_COMMAND_SECONDS:g} s. Try it by hand.") from None
    except OSError as error:
        raise GateError(f"{option} cannot be run: {error.strerror}. Try it by hand.") from None
    printed = [done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")]
    if done.returncode:
        last = "".join(reversed(printed)).strip().splitlines()
        said = masked(last[-1]) if last else "it printed nothing"
        raise GateError(f"{option} ended with code {done.returncode}: {said}. Try it by hand.")
    return printed[0]
