"""Which cells a table has: the chosen targets under the losses that can strike them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.history.promises import Loss, Promises
from harness.queues.cells import BUDGET_SECONDS, LOSSES, scenario_name
from harness.queues.result import Cell
from harness.scenario import registry
from harness.targets.adapter import AdapterTarget
from harness.targets.base import Target

DEFAULT_NEEDS = ("redis", "postgres")
"""The services of a target that is no adapter."""
# What a cell needs besides the promised time: servers, pools, the tasks themselves.
_REST_SECONDS = 25.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The cells that are wanted. Empty `losses` mean all; `only` are names of cells, which replace both."""

    targets: Sequence[str] = ()
    losses: Sequence[str] = ()
    only: Sequence[str] = ()
    repeats: int = 1

    def cells(self) -> list[Cell]:
        """The cells, ordered by loss so that neighbours are of different targets; raises `UsageError`."""
        pairs = [_pair(name) for name in self.only] if self.only else list(self._pairs())
        found: list[Cell] = []
        for repeat in range(1, self.repeats + 1):
            for target, loss in pairs:
                scenario = scenario_name(loss, needs_of(registry.target(target)))
                if scenario is not None:
                    found.append(Cell(target=target, loss=loss, scenario=scenario, repeat=repeat))
        if not found:
            raise UsageError("No cell is left: none of these losses can strike these targets. Name others.")
        return found

    def _pairs(self) -> Iterator[tuple[str, Loss]]:
        targets = self.targets or known_targets()
        for loss in [_loss(name) for name in self.losses] or LOSSES:
            for target in targets:
                yield target, loss


def known_targets() -> list[str]:
    """Every target that is known by name, and its profiles; not the name alone if a profile has its settings."""
    found: list[str] = []
    for name in registry.names(registry.TARGETS):
        target = registry.target(name)
        profiles = target.file.profiles if isinstance(target, AdapterTarget) else ()
        named = [f"{name}@{profile}" for profile in profiles]
        plain = settings_of(target)
        repeated = any(settings_of(registry.target(one)) == plain for one in named)
        found += [*([] if repeated else [name]), *named]
    return found


def needs_of(target: Target) -> Sequence[str]:
    """The services that a target needs, its broker first."""
    return target.file.needs if isinstance(target, AdapterTarget) else DEFAULT_NEEDS


def settings_of(target: Target) -> Mapping[str, str]:
    """The settings of a target, for people."""
    return target.file.settings if isinstance(target, AdapterTarget) else {}


def install(target: Target, say: Callable[[str], None]) -> None:
    """Install what a target needs, so that its first cell does not wait for it; raises `HarnessError`."""
    if isinstance(target, AdapterTarget):
        target.install(say)


def not_waited_for(cell: Cell, made: Promises) -> str | None:
    """Why a cell could show nothing within its budget; None if it can."""
    if cell.loss not in (Loss.WORKER_KILLED, Loss.POOL_KILLED, Loss.WORKER_PAUSED):
        return None
    silence = made.takes_over_after or 0.0
    promised_seconds = (
        silence if cell.loss is Loss.WORKER_PAUSED else made.recovers_within.get(cell.loss, silence)
    )
    if promised_seconds + _REST_SECONDS <= BUDGET_SECONDS:
        return None
    return (
        f"not waited for: the target takes its tasks over after {promised_seconds:g} s, and a cell has "
        f"{BUDGET_SECONDS:g} s"
    )


def _pair(name: str) -> tuple[str, Loss]:
    target, slash, loss = name.rpartition("/")
    if not slash or not target:
        raise UsageError(f"{name!r} names no cell. Write TARGET/LOSS, as in celery@late/worker-killed.")
    return target, _loss(loss)


def _loss(name: str) -> Loss:
    if name not in LOSSES:
        raise UsageError(f"There is no loss {name!r} in the table. Known: {', '.join(LOSSES)}.")
    return Loss(name)
