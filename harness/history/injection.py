"""What a fault does, as the nemesis records it: the phases of a fault and its kind.

The nemesis records `kind` in each injection. Older histories lack the field; `with_kind` adds it from the fault's name
when a file is read. No other code infers anything from the name of a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from harness.history.names import NEMESIS
from harness.history.operation import Operation

INJECT, HEAL = "inject", "heal"
"""The phases of a fault, in the value of each operation of the nemesis."""


class InjectionKind(StrEnum):
    """What an injected fault does; `kind` in the value of the operation.

    Checkers distinguish KILL (the processes of `pids` are dead), STOP (a pool got SIGTERM) and all others, which leave
    processes alive and may cost a worker its lease; a short PAUSE does not. A CLOCK that changed leaves delays open.
    """

    KILL = "kill"
    STOP = "stop"
    PAUSE = "pause"
    DISCONNECT = "disconnect"
    DATA_LOSS = "data-loss"
    CLOCK = "clock"
    CANCEL = "cancel"
    OTHER = "other"


_KILL_PREFIX = "kill-"
_PAUSE_PREFIXES = ("pause-", "stall-")
_DISCONNECT_PREFIXES = ("restart-", "crash-", "terminate-")
_BY_NAME: Mapping[str, InjectionKind] = {
    "sigterm": InjectionKind.STOP,
    "flush-redis": InjectionKind.DATA_LOSS,
    "fail-over-redis": InjectionKind.DATA_LOSS,
    "redis-forgets": InjectionKind.DATA_LOSS,
    "redis-fails-over": InjectionKind.DATA_LOSS,
    "redis-loses-keys": InjectionKind.DATA_LOSS,
    "redis-away": InjectionKind.DISCONNECT,
    "postgres-away": InjectionKind.DISCONNECT,
    "postgres-silent": InjectionKind.DISCONNECT,
    "lose-request": InjectionKind.DISCONNECT,
    "lose-reply": InjectionKind.DISCONNECT,
    "late-request": InjectionKind.DISCONNECT,
    "producer-loses-reply": InjectionKind.DISCONNECT,
    "redis-clock": InjectionKind.CLOCK,
    "cancel": InjectionKind.CANCEL,
    "fail": InjectionKind.CANCEL,
    "freeze-host": InjectionKind.PAUSE,
}
"""The kinds of faults in histories without the field, by the names of the faults."""


def with_kind(operation: Operation) -> Operation:
    """The operation as read from a file, with the `kind` of its fault if it is an injection that lacks it."""
    value = operation.value
    if operation.process != NEMESIS or value.get("phase") != INJECT or "kind" in value:
        return operation
    return replace(operation, value={**value, "kind": _kind_by_name(operation.f)})


def _kind_by_name(name: str) -> InjectionKind:
    if name.startswith(_KILL_PREFIX):
        return InjectionKind.KILL
    if name.startswith(_PAUSE_PREFIXES):
        return InjectionKind.PAUSE
    if name.startswith(_DISCONNECT_PREFIXES):
        return InjectionKind.DISCONNECT
    return _BY_NAME.get(name, InjectionKind.OTHER)
