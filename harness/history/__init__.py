"""Histories of operations: recorded by every process, saved as JSON lines, read by the checkers."""

from __future__ import annotations

from harness.history.history import BREAKDOWN, RUNNER, History, Recorder, seal, uncollected
from harness.history.operation import Operation, OperationType

__all__ = ["BREAKDOWN", "RUNNER", "History", "Operation", "OperationType", "Recorder", "seal", "uncollected"]
