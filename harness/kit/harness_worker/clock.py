"""A wall clock that jumps, as this process sees it: `time.time`, `time.time_ns`, and `now` of `datetime`.

Every module that holds one of them gets another one for a while. What an extension reads from the system stays right.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime as Datetime
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

_TIME, _TIME_NS = time.time, time.time_ns
_NANOSECONDS = 1_000_000_000


def note_file(gate: str, pid: int) -> Path:
    """Where a process notes its time, by the address of the gates: ahead, behind, and right again; one line each."""
    return Path(gate).parent / f"clock-{pid}"


def jump(seconds: float, each: float, gate: str) -> None:
    """Start a thread in which the clock is `seconds` ahead, then as much behind, each for `each` seconds."""
    threading.Thread(target=_jump, args=(seconds, each, note_file(gate, os.getpid())), daemon=True).start()


def _jump(seconds: float, each: float, notes: Path) -> None:
    for shift in (seconds, -seconds):
        with shifted(shift):
            _note(notes)
            time.sleep(each)
    _note(notes)


def _note(notes: Path) -> None:
    with notes.open("a", encoding="utf-8") as file:
        file.write(f"{time.time()}\n")


@contextmanager
def shifted(seconds: float) -> Iterator[None]:
    """The clock of this process is `seconds` ahead."""
    fakes = _fakes(seconds)
    try:
        _replace({id(right): fake for right, fake in fakes})
        yield
    finally:
        # Also in modules that were imported meanwhile.
        _replace({id(fake): right for right, fake in fakes})


def _replace(others: dict[int, Any]) -> None:
    """Give every module that holds a value the other one, by the identity of the value."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", None) != __name__:
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if id(value) in others:
                    setattr(module, name, others[id(value)])


def _fakes(seconds: float) -> list[tuple[Any, Any]]:
    ahead = timedelta(seconds=seconds)

    class Kind(type):
        """Every point in time is one of the class, as before."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, Datetime)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, Datetime)

    class JumpedDatetime(Datetime, metaclass=Kind):
        """Makes plain points in time; only `now` differs."""

        def __new__(cls, *given: Any, **named: Any) -> Any:
            return Datetime(*given, **named)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return Datetime.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> Any:
            return Datetime.now(timezone.utc).replace(tzinfo=None) + ahead

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    return [
        (_TIME, lambda: _TIME() + seconds),
        (_TIME_NS, lambda: _TIME_NS() + round(seconds * _NANOSECONDS)),
        (Datetime, JumpedDatetime),
    ]
