"""The faults of a run as windows of time: from injection to repair, or one instant where no repair is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.history import History, Operation, OperationType

NEMESIS = "nemesis"


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultWindow:
    """One fault; times are seconds since the start, `end` is None until it was healed.

    `pids` are the processes that it hit, `pool` the pool they belong to where the nemesis said so, and `failed` is
    True where the injection itself did not work.
    """

    number: int
    name: str
    start: float
    end: float | None = None
    pids: tuple[int, ...] = ()
    pool: str | None = None
    failed: bool = False

    @property
    def kills(self) -> int:
        """How many processes it killed: those it hit, if it is a kill by its name."""
        return len(self.pids) if "kill" in self.name and not self.failed else 0


def fault_windows(history: History, begin: int) -> tuple[FaultWindow, ...]:
    """The faults that the nemesis logged, in order of their injection; `begin` is the start in ns."""
    logged = [op for op in history.by_process(NEMESIS) if isinstance(op.value.get("fault"), int)]
    numbers = dict.fromkeys(int(op.value["fault"]) for op in logged if _phase(op) == "inject")
    return tuple(_window(n, [op for op in logged if op.value["fault"] == n], begin) for n in numbers)


def _window(number: int, ops: list[Operation], begin: int) -> FaultWindow:
    injects = [op for op in ops if _phase(op) == "inject"]
    heals = [op for op in ops if _phase(op) == "heal"]
    pools = [str(op.value["pool"]) for op in injects if op.value.get("pool") is not None]
    return FaultWindow(
        number=number,
        name=injects[0].f,
        start=(injects[0].time - begin) / 1e9,
        end=(heals[-1].time - begin) / 1e9 if heals else None,
        pids=tuple(dict.fromkeys(pid for op in injects for pid in _pids(op))),
        pool=pools[0] if pools else None,
        failed=injects[-1].type is OperationType.FAIL,
    )


def _phase(op: Operation) -> object:
    return op.value.get("phase")


def _pids(op: Operation) -> Iterator[int]:
    many = op.value.get("pids")
    for pid in [*(many if isinstance(many, list | tuple) else []), op.value.get("pid")]:
        if isinstance(pid, int):
            yield pid
