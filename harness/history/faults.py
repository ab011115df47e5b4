"""Faults as windows of time, and the processes that they killed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from harness.history.fields import optional_seconds, optional_whole
from harness.history.figures import NANOSECONDS
from harness.history.history import History
from harness.history.injection import HEAL, INJECT, InjectionKind
from harness.history.names import NEMESIS, worker_name
from harness.history.operation import Operation, OperationType


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultWindow:
    """One fault from its injection to its heal; times are nanoseconds.

    `number` is the fault's number in the schedule, None if the history has none. `end` is the time of the heal, None if
    the history has no heal. `until` is the end of the fault window: `end`, else `start` plus the fault's `seconds`,
    else `start`. `pids` are the processes that the fault hit, and `parent` is the pool's own process, if it is
    recorded. A fault that `failed` injected nothing. `injection` is the operation that began it. `heal`, the one that
    ended it, also says what the fault saw of its effect.
    """

    number: int | None
    name: str
    kind: InjectionKind
    start: int
    end: int | None
    until: int
    pids: tuple[int, ...]
    parent: int | None
    pool: str | None
    failed: bool
    injection: Operation
    heal: Operation | None = None

    @property
    def label(self) -> str:
        """Its name and number, as in `kill-worker 3`."""
        return self.name if self.number is None else f"{self.name} {self.number}"

    @property
    def workers(self) -> tuple[str, ...]:
        """The processes that it hit, by the names under which workers record."""
        return tuple(map(worker_name, self.pids))


def fault_windows(history: History) -> Sequence[FaultWindow]:
    """Every fault in order of its injection, failed faults included. A fault that was recorded twice counts once."""
    return history.derive(_fault_windows)


def injected_faults(history: History) -> Sequence[FaultWindow]:
    """Every fault that did not fail, in order of its injection."""
    return history.derive(_injected_faults)


def fault_spans(history: History) -> Sequence[tuple[int, int]]:
    """Disjoint spans of time (nanoseconds, in order) in which at least one fault was active."""
    return history.derive(_fault_spans)


def leaves_alive(fault: FaultWindow) -> bool:
    """Whether it neither kills nor stops: it may cost a worker its lease."""
    return fault.kind not in (InjectionKind.KILL, InjectionKind.STOP)


def undisturbed_since(spans: Iterable[tuple[int, int]], since: int, *, within: float) -> int:
    """When a time of `within` seconds from `since` on (nanoseconds) begins if it counts from the end of a fault.

    A fault counts that was active before that time had passed; `spans` are the faults in order of their beginning.
    """
    for start, end in spans:
        if end > since and start <= since + round(within * NANOSECONDS):
            since = end
    return since


def kills(history: History) -> Mapping[str, FaultWindow]:
    """By the name of a killed process (`worker-PID`), the first fault that killed it."""
    return history.derive(_kills)


def killed_workers(history: History) -> Set[str]:
    """Killed processes that were workers: those that recorded something themselves."""
    return kills(history).keys() & history.derive(_writers)


def _fault_windows(history: History) -> Sequence[FaultWindow]:
    injections: dict[object, list[Operation]] = {}
    healed: dict[object, Operation] = {}
    for operation in history.by_process(NEMESIS):
        number, phase = optional_whole(operation, "fault"), operation.value.get("phase")
        if phase == HEAL:
            healed[number] = operation
        elif phase == INJECT:
            key = ("unnumbered", len(injections)) if number is None else number
            injections.setdefault(key, []).append(operation)
        else:
            raise ValueError(
                f"a {operation.f} operation of {NEMESIS} has the phase {phase!r}; record {INJECT} or {HEAL}"
            )
    return [_window(logged, healed.get(logged[0].value.get("fault"))) for logged in injections.values()]


def _window(logged: Sequence[Operation], healed: Operation | None) -> FaultWindow:
    first = logged[0]
    pools = [str(op.value["pool"]) for op in logged if op.value.get("pool") is not None]
    return FaultWindow(
        number=optional_whole(first, "fault"),
        name=first.f,
        kind=_kind(first),
        start=first.time,
        end=None if healed is None else healed.time,
        until=max(logged[-1].time, _own_end(logged) if healed is None else healed.time),
        pids=tuple(dict.fromkeys(pid for op in logged for pid in _pids(op))),
        parent=optional_whole(first, "pid"),
        pool=pools[0] if pools else None,
        failed=any(op.type is OperationType.FAIL for op in logged),
        injection=first,
        heal=healed,
    )


def _kind(injection: Operation) -> InjectionKind:
    found = str(injection.value.get("kind"))
    if found not in InjectionKind.__members__.values():
        known = ", ".join(InjectionKind)
        raise ValueError(
            f"the injection of {injection.f} has the kind {found!r}; record one of {known} as its 'kind'"
        )
    return InjectionKind(found)


def _own_end(logged: Sequence[Operation]) -> int:
    return max(op.time + round((optional_seconds(op, "seconds") or 0.0) * NANOSECONDS) for op in logged)


def _pids(injection: Operation) -> Sequence[int]:
    found = injection.value.get("pids")
    if found is None:
        return ()
    if not isinstance(found, list | tuple) or any(type(pid) is not int for pid in found):
        raise ValueError(
            f"the injection of {injection.f} has the pids {found!r}; record a list of whole numbers"
        )
    return found


def _injected_faults(history: History) -> Sequence[FaultWindow]:
    return [fault for fault in fault_windows(history) if not fault.failed]


def _fault_spans(history: History) -> Sequence[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for fault in injected_faults(history):
        end = max(fault.until, fault.start)
        if spans and fault.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((fault.start, end))
    return spans


def _kills(history: History) -> Mapping[str, FaultWindow]:
    killed: dict[str, FaultWindow] = {}
    for fault in injected_faults(history):
        for worker in fault.workers if fault.kind is InjectionKind.KILL else ():
            killed.setdefault(worker, fault)
    return killed


def _writers(history: History) -> Set[str]:
    return {op.process for op in history}
