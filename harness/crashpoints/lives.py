"""The lives of a task: what is submitted, what happens meanwhile, and what a target needs for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from harness.crashpoints.points import PRODUCER, WORKER, CrashKind
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.adapter import AdapterTarget
from harness.targets.base import OperatorAction, Target, TaskFeature, TaskSpec

_DELAY_SECONDS = 0.3
# The work of each handler, so that what a worker sends at the beginning and at the end of a run comes apart.
_WORK_SECONDS = 0.1
_BATCH = 4


class Meanwhile(Enum):
    """What happens while the first task of a life waits in its handler.

    POISON: the handler ends its worker, as often as the task begins again, until it is a dead letter.
    """

    NOTHING = auto()
    CANCEL = auto()
    DRAIN = auto()
    EMPTY = auto()
    POISON = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """One life. `count` tasks are submitted together; `locked` gives all of them one lock key.

    `starts` is the side whose process starts before that: PRODUCER, WORKER, or empty. `action` is what an operator
    does with the tasks once they have ended, by the process of the producer. With `loses_scripts`, Redis knows none of
    the scripts that the processes call by their digests, as after a restart.
    """

    name: str
    count: int = 1
    fails: int = 0
    delay: float = 0.0
    locked: bool = False
    meanwhile: Meanwhile = Meanwhile.NOTHING
    feature: TaskFeature | None = None
    starts: str = ""
    action: OperatorAction | None = None
    loses_scripts: bool = False

    @property
    def only_own(self) -> bool:
        """Whether only commands are struck that no other life has, each at its first occurrence."""
        return self.is_long or self.loses_scripts or self.meanwhile is Meanwhile.EMPTY

    @property
    def is_long(self) -> bool:
        """Whether its own commands come late in it: it starts a process, or waits for the end of its tasks."""
        return bool(self.starts or self.action) or self.meanwhile is Meanwhile.POISON

    @property
    def restarts(self) -> bool:
        """Whether it starts a process again by itself that has ended."""
        return bool(self.starts or self.action)

    @property
    def may_end_badly(self) -> bool:
        """Whether a task may end otherwise than complete."""
        return self.meanwhile in (Meanwhile.CANCEL, Meanwhile.POISON)

    @property
    def left_out(self) -> Mapping[CrashKind, str]:
        """The strikes that it does not have, with the word for the table.

        A command arrives late only where nothing but another run of the task happens. A process that starts sends one
        command after the other: killed after one of them, it is killed before the next one.
        """
        if self.starts:
            return {CrashKind.KILLED_LATE: "", CrashKind.KILLED_AFTER: "as next"}
        return {CrashKind.KILLED_LATE: ""} if self.only_own or self.meanwhile is not Meanwhile.NOTHING else {}

    def tasks(self, first: int, *, gated: bool = False) -> list[TaskSpec]:
        """The tasks, numbered from `first`; all have gates if `gated`, else the first if it waits in its handler."""
        waits = self.meanwhile is not Meanwhile.NOTHING
        return [
            TaskSpec(
                number=number,
                work=_WORK_SECONDS,
                gate=gate_of(number) if gated or (waits and number == first) else None,
                lock=f"lock-{first}" if self.locked else None,
                fails=self.fails,
                delay=self.delay,
            )
            for number in range(first, first + self.count)
        ]

    def fits(self, target: Target, promises: Promises) -> bool:
        """Whether the target can live it."""
        if self.locked and not promises.locks:
            return False
        if self.starts == PRODUCER and isinstance(target, AdapterTarget):
            return False
        if self.meanwhile is Meanwhile.EMPTY and Loss.BROKER_EMPTIED not in promises.survives:
            return False
        if self.meanwhile is Meanwhile.DRAIN and promises.sigterm is SigtermPromise.STOPS:
            return False
        actions = getattr(target, "operator_actions", ())
        if self.meanwhile is Meanwhile.POISON and not (
            promises.most_crashes and OperatorAction.PURGE in actions
        ):
            return False
        if self.action and self.action not in actions:
            return False
        return self.feature is None or self.feature in getattr(target, "features", ())


LIVES: Mapping[str, Life] = MappingProxyType(
    {
        one.name: one
        for one in (
            Life(name="plain"),
            Life(name="retried", fails=1, feature=TaskFeature.FAILS),
            Life(name="delayed", delay=_DELAY_SECONDS, feature=TaskFeature.DELAY),
            Life(name="canceled", meanwhile=Meanwhile.CANCEL, feature=TaskFeature.CANCEL),
            Life(name="lock-key", count=2, locked=True),
            Life(name="batch", count=_BATCH),
            Life(name="drain", meanwhile=Meanwhile.DRAIN),
            Life(name="emptied", count=2, meanwhile=Meanwhile.EMPTY),
            Life(name="scripts-lost", loses_scripts=True),
            Life(name="pool-start", starts=WORKER),
            Life(name="producer-start", starts=PRODUCER),
            Life(name="cleaned", action=OperatorAction.CLEAN_UP),
            Life(name="poison", meanwhile=Meanwhile.POISON),
            Life(name="requeued", meanwhile=Meanwhile.POISON, action=OperatorAction.REQUEUE),
            Life(name="purged", meanwhile=Meanwhile.POISON, action=OperatorAction.PURGE),
        )
    }
)
"""The lives by name, in the order in which they are struck."""


def gate_of(number: int) -> str:
    """The gate of a task."""
    return f"life-{number}"


def lives_of(target: Target, promises: Promises, names: Sequence[str] = ()) -> list[Life]:
    """The lives that a target can live, of those that are named (default: all)."""
    return [
        life for life in LIVES.values() if (not names or life.name in names) and life.fits(target, promises)
    ]
