"""Histories of operations: recorded by every process, saved as JSON lines, read by checkers, reports and benchmarks.

`operation` and `history` are the data, `recorder` and `files` write and read it. The other modules are the readings:
one function for each question, shared by all who ask it. `runs`, `submissions`, `faults`, `interruptions`, `workers`
and `records` each answer for one kind of operation; `fields` reads one operation; `figures` makes figures of times.
"""

from __future__ import annotations

from harness.history.files import seal, uncollected
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import BREAKDOWN, RUNNER
from harness.history.operation import Operation, OperationType
from harness.history.recorder import Recorder

__all__ = [
    "BREAKDOWN",
    "RUNNER",
    "History",
    "InjectionKind",
    "Operation",
    "OperationType",
    "Recorder",
    "seal",
    "uncollected",
]
