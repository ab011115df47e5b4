"""Checkers: one question per module, each a factory of a pure function from a history to a result.

`standard` puts the usual ones together. What each claims, and what it does not, is written in docs/checkers.md.
"""

from harness.checkers.delivery import Delivery, account, delivery
from harness.checkers.duplicates import budget_per_kill, duplicates
from harness.checkers.evidence import evidence
from harness.checkers.exits import exits
from harness.checkers.faults_injected import faults_injected
from harness.checkers.fencing import fencing
from harness.checkers.nothing_left import nothing_left
from harness.checkers.recovery import Interruption, interruptions, nearest_rank, recovery
from harness.checkers.shutdown import shutdown
from harness.checkers.standard import standard
from harness.checkers.transitions import LEGAL, TERMINAL, transitions

__all__ = [
    "LEGAL",
    "TERMINAL",
    "Delivery",
    "Interruption",
    "account",
    "budget_per_kill",
    "delivery",
    "duplicates",
    "evidence",
    "exits",
    "faults_injected",
    "fencing",
    "interruptions",
    "nearest_rank",
    "nothing_left",
    "recovery",
    "shutdown",
    "standard",
    "transitions",
]
