"""`python -m tests.mutants.one MEANS < mutant.json`: judge one mutant by one means, in this process.

Exit codes: 0 if the mutant survived, 1 if it was detected.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from agentexec.queue.redis_queue import SCRIPTS
from harness.simulation import simulate
from tests.mutants.mutate import Mutant
from tests.planted.edits import Edit, applied
from tests.properties.finders import FINDERS

SEED = 1
EXAMPLES = {"queue machine": 40, "activity machine": 80}
SCHEDULES = 300
CONTRACT = [
    *(f"tests/conformance/test_{name}.py" for name in ("queue", "lock_keys", "names", "suspects", "store")),
    *(f"tests/conformance/test_{name}.py" for name in ("queue_details", "queue_workers", "store_marks")),
]


def contract() -> bool:
    """The contract suite over fakeredis and SQLite."""
    options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-k", "fakeredis or sqlite"]
    return pytest.main([*options, *CONTRACT]) != pytest.ExitCode.OK


def simulation() -> bool:
    """Simulated schedules, one seed after another."""
    return any(simulate(seed).findings for seed in range(SCHEDULES))


def machine(means: str) -> bool:
    """A state machine with its budget."""
    return FINDERS[means](EXAMPLES[means], SEED, shrink=False) is not None


MEANS: dict[str, Callable[[], bool]] = {
    "contract": contract,
    "queue machine": lambda: machine("queue machine"),
    "activity machine": lambda: machine("activity machine"),
    "simulation": simulation,
}


def in_force(mutant: Mutant) -> AbstractContextManager[None]:
    """The block in which the changed text is the one that runs."""
    return applied([Edit(where=mutant.where, old="", new=mutant.text, whole=True)])


def able(means: str, where: str) -> bool:
    """Whether a means runs a text at all: the simulation has no Lua, and the queue machine no SQL."""
    lua = where.startswith("lua/")
    assert not lua or where.removeprefix("lua/").removesuffix(".lua") in ("common", *SCRIPTS)
    return means not in ({"simulation"} if lua else {"queue machine"})


if __name__ == "__main__":
    logging.disable()
    with in_force(Mutant(**json.load(sys.stdin))):
        sys.exit(int(MEANS[sys.argv[1]]()))
