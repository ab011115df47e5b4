"""Checkers: one question per module, each a factory of a pure function from a history to a result.

`standard` combines the usual ones. docs/reference/checkers.md lists what each one claims and what it does not.
"""

from harness.checkers.availability import availability
from harness.checkers.backups import backups, beyond_backups, budget_per_restoration
from harness.checkers.base import reads
from harness.checkers.cancels import cancels
from harness.checkers.causality import causality
from harness.checkers.charges import charges
from harness.checkers.delays import delays
from harness.checkers.delivery import Delivery, account, delivery
from harness.checkers.duplicates import budget_per_fault, budget_per_kill, duplicates
from harness.checkers.effects import effects
from harness.checkers.evidence import evidence
from harness.checkers.exits import exits
from harness.checkers.faults_injected import faults_injected
from harness.checkers.fencing import fencing
from harness.checkers.keys import keys
from harness.checkers.lock_order import lock_order
from harness.checkers.locks import locks
from harness.checkers.memory import memory
from harness.checkers.nothing_left import nothing_left
from harness.checkers.orphans import orphans
from harness.checkers.poison import poison
from harness.checkers.priorities import priorities
from harness.checkers.progress import progress
from harness.checkers.protocol import protocol
from harness.checkers.recovery import recovery, resumption
from harness.checkers.results import results
from harness.checkers.retries import retries
from harness.checkers.shutdown import shutdown
from harness.checkers.standard import FEATURES, standard
from harness.checkers.steady_state import steady_state
from harness.checkers.transitions import transitions
from harness.checkers.witnesses import witnesses

__all__ = [
    "FEATURES",
    "Delivery",
    "account",
    "availability",
    "backups",
    "beyond_backups",
    "budget_per_fault",
    "budget_per_kill",
    "budget_per_restoration",
    "cancels",
    "causality",
    "charges",
    "delays",
    "delivery",
    "duplicates",
    "effects",
    "evidence",
    "exits",
    "faults_injected",
    "fencing",
    "keys",
    "lock_order",
    "locks",
    "memory",
    "nothing_left",
    "orphans",
    "poison",
    "priorities",
    "progress",
    "protocol",
    "reads",
    "recovery",
    "results",
    "resumption",
    "retries",
    "shutdown",
    "standard",
    "steady_state",
    "transitions",
    "witnesses",
]
