"""Histories of operations: recorded by every process, saved as JSON lines, read by checkers, reports and benchmarks.

`operation` and `history` are the data, `recorder` and `files` write and read it. The other modules are the readings,
which checkers, reports and benchmarks share. `runs`, `submissions`, `faults`, `interruptions`, `workers`, `records`,
`promises`, `ending` and `machine` each read one kind of operation; `fields` reads one operation; `figures` computes
seconds and quantiles.
"""

from __future__ import annotations

from harness.history.files import seal, uncollected
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import BREAKDOWN, CHILD, DEADLOCKS, INVARIANT, RUNNER
from harness.history.operation import Operation, OperationType
from harness.history.recorder import Recorder

__all__ = [
    "BREAKDOWN",
    "CHILD",
    "DEADLOCKS",
    "INVARIANT",
    "RUNNER",
    "History",
    "InjectionKind",
    "Operation",
    "OperationType",
    "Recorder",
    "seal",
    "uncollected",
]
