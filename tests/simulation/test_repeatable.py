"""The same seed is the same run, whatever the interpreter; and the true implementation survives what seeds can do."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from harness.checkers.base import Verdict
from harness.history import History
from harness.simulation import simulate

SEEDS = range(3)
SCRIPT = """
import sys
from tests.simulation.test_repeatable import fingerprint
print(fingerprint())
"""


def fingerprint() -> str:
    """Every byte of the histories and traces of some seeds."""
    outcomes = [simulate(seed, trace=True) for seed in SEEDS]
    return sha256("".join(f"{text_of(one.history)}{one.trace}" for one in outcomes).encode()).hexdigest()


def text_of(history: History) -> str:
    return "".join(operation.to_json() + "\n" for operation in history)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_gives_the_same_history_byte_for_byte_in_every_interpreter(hash_seed: str) -> None:
    environment = os.environ | {
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == fingerprint()


def test_two_seeds_differ() -> None:
    assert text_of(simulate(1).history) != text_of(simulate(2).history)


def test_a_traced_run_is_the_run_that_was_not() -> None:
    assert text_of(simulate(5, trace=True).history) == text_of(simulate(5).history)


@pytest.mark.parametrize("first", [0, 10, 30])
def test_the_true_implementation_has_no_finding(first: int) -> None:
    for seed in range(first, first + 10):
        outcome = simulate(seed)
        assert not outcome.findings, f"harness simulate --seed {seed}"
        assert len(outcome.plan.tasks) >= 20
        assert outcome.injected >= 5


def test_in_virtual_time_too_every_task_begins_after_its_submission() -> None:
    for seed in SEEDS:
        result = simulate(seed).results["causality"]
        assert (result.verdict, result.figures["before_submission"]) == (Verdict.VALID, 0)
        assert result.figures["tasks"]
