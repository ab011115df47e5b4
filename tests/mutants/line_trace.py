"""Which lines of the implementation run, and in which test or schedule."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any


class LineTrace:
    """The lines of some files that run, by the unit (a test, a schedule) in which they do."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """`files` has the module of each file."""
        self._modules = files
        self._lines = set[tuple[str, int]]()
        self.reached: dict[str, frozenset[tuple[str, int]]] = {}

    @contextmanager
    def of(self, unit: str) -> Iterator[None]:
        """Note the lines that run in the block, also in threads that begin in it."""
        self._lines = set()
        threading.settrace(self._called)
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.reached[unit] = frozenset(self._lines)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        module = self._modules.get(frame.f_code.co_filename)
        if module is None:
            return None
        lines = self._lines

        def ran(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                lines.add((module, frame.f_lineno))
            return ran

        return ran
