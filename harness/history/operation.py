"""One line of a history and its format; `harness.history.history` has the vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

LAST_TIME = 2**63 - 1
"""The latest time of an operation, in nanoseconds; the earliest is its negative."""


class OperationType(StrEnum):
    """The type of an operation: it begins, or it ends with a known or an unknown outcome."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One line of a history; `time` is CLOCK_MONOTONIC in nanoseconds, `value` is JSON."""

    time: int
    process: str
    type: OperationType
    f: str
    value: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The operation as one line of JSON without its newline."""
        return json.dumps(
            {
                "time": self.time,
                "process": self.process,
                "type": self.type,
                "f": self.f,
                "value": dict(self.value),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read one line back; raises `ValueError` that says what is wrong with it."""
        try:
            data = json.loads(line)
        except ValueError as error:
            raise ValueError(f"is not JSON ({error})") from None
        except RecursionError:
            raise ValueError("is nested too deep to be read") from None
        if not isinstance(data, dict):
            raise ValueError("is not a JSON object")
        match data:
            case {"time": int(at), "process": str(process), "type": str(kind), "f": str(f)} if (
                type(at) is int
            ):
                value = data.get("value", {})
            case _:
                raise ValueError("lacks one of time, process, type, f, or has one of the wrong type")
        if abs(at) > LAST_TIME:
            raise ValueError("has a time that no clock has")
        if kind not in OperationType.__members__.values():
            raise ValueError(f"has the unknown type {kind!r}")
        if not isinstance(value, dict):
            raise ValueError("has a value that is not an object")
        return cls(time=at, process=process, type=OperationType(kind), f=f, value=value)
