"""What the system under test promises, as the runner records it; checkers ask for nothing else."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self, TypeVar

from harness.history.faults import FaultWindow, injected_faults
from harness.history.history import History
from harness.history.injection import InjectionKind
from harness.history.names import PROMISES

MemberT = TypeVar("MemberT", bound=StrEnum)


class Loss(StrEnum):
    """What a fault takes from the system; `loss` in the value of an injection."""

    WORKER_KILLED = "worker-killed"
    POOL_KILLED = "pool-killed"
    PRODUCER_KILLED = "producer-killed"
    WORKER_PAUSED = "worker-paused"
    WORKER_BLOCKED = "worker-blocked"
    WORKER_OUT_OF_MEMORY = "worker-out-of-memory"
    WORKER_STARVED = "worker-starved"
    WORKER_CLOCK_JUMPED = "worker-clock-jumped"
    SIGTERM = "sigterm"
    SIGTERM_LATE = "sigterm-late"
    DEPLOYMENT = "deployment"
    BROKER_RESTARTED = "broker-restarted"
    BROKER_EMPTIED = "broker-emptied"
    BROKER_FROZEN = "broker-frozen"
    BROKER_TAIL_LOST = "broker-tail-lost"
    BROKER_FULL = "broker-full"
    BROKER_DISK_FULL = "broker-disk-full"
    BROKER_EVICTS = "broker-evicts"
    BROKER_BUSY = "broker-busy"
    BROKER_READ_ONLY = "broker-read-only"
    BROKER_DISCONNECTS = "broker-disconnects"
    BROKER_LOCKED_OUT = "broker-locked-out"
    REPLY_LOST = "reply-lost"
    DATABASE_RESTARTED = "database-restarted"
    DATABASE_FROZEN = "database-frozen"
    DATABASE_TAIL_LOST = "database-tail-lost"
    DATABASE_FULL = "database-full"
    DATABASE_DISK_FULL = "database-disk-full"
    DATABASE_LOCKED = "database-locked"
    DATABASE_READ_ONLY = "database-read-only"
    DATABASE_DEADLOCKS = "database-deadlocks"
    DATABASE_RESTORED = "database-restored"
    STATEMENTS_CANCELED = "statements-canceled"
    BACKENDS_TERMINATED = "backends-terminated"


class DeliveryMode(StrEnum):
    """How often an acknowledged task runs."""

    AT_LEAST_ONCE = "at-least-once"
    AT_MOST_ONCE = "at-most-once"


class SigtermPromise(StrEnum):
    """What a pool does with its running tasks after SIGTERM.

    DRAINS: it runs them to their end. RELEASES: it runs them up to the graceful time-out and gives back the rest.
    STOPS: it ends at once.
    """

    DRAINS = "drains"
    RELEASES = "releases"
    STOPS = "stops"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """A sentence of the system's own documentation, and the address of its page."""

    sentence: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPauses:
    """The pauses before retries, in seconds: uniform up to `base`, doubled with each failure, up to `cap`."""

    base: float
    cap: float

    def longest(self, failures: int) -> float:
        """The longest pause after so many failures (from 1)."""
        return min(self.cap, self.base * 2.0 ** min(failures - 1, 60))


@dataclass(frozen=True, kw_only=True, slots=True)
class Promises:
    """The promises of a system under test. Times are seconds.

    delivery: how often an acknowledged task runs.
    survives: the losses after which every acknowledged task still ends.
    recovers_within: by loss, the longest time until an interrupted task begins again.
    takes_over_after: how long a worker may be silent until others take its tasks over; None if they never do.
    steady_within: the longest time after the heal of the last fault until tasks start as promptly as before.
    slots_per_worker: how many tasks one worker runs at a time; None if the run decides it.
    most_crashes: a task whose workers die of it more often becomes a dead letter; None if it never does.
    orphans_end_within: how long after another run of its task began a handler may go on that lost its token.
    cancels_within: how long after an accepted cancel a handler may begin or go on.
    retry_pauses: the pauses before retries. Each of the three is None if nothing is promised.
    duplicates: a task runs again only if a fault interrupted it.
    fences: each run has a fencing token, which rises from run to run of a task.
    log: the store has a log of each task's transitions. records: the store has each task's last status.
    queue: the queue reports how many tasks it holds.
    locks, priorities, progress: the system has this feature. lock_order: the tasks of one lock key begin in the order
    in which they were submitted.
    results: a caller reads what the accepted run returned. delays: a delayed task does not begin early. charges: the
    record counts the failures of handlers, and nothing else. keys: submissions with one idempotency key are one task.
    deadlock_free: no two of its statements wait for each other in the database.
    sigterm: what a pool does with running tasks. exit_codes: with which codes a pool may end after SIGTERM.
    quotes: by the name of a field or a loss, the sentence that makes the promise.
    """

    delivery: DeliveryMode = DeliveryMode.AT_LEAST_ONCE
    survives: frozenset[Loss] = frozenset()
    recovers_within: Mapping[Loss, float] = field(default_factory=dict)
    takes_over_after: float | None = None
    steady_within: float | None = None
    slots_per_worker: int | None = None
    most_crashes: int | None = None
    orphans_end_within: float | None = None
    cancels_within: float | None = None
    retry_pauses: RetryPauses | None = None
    duplicates: bool = False
    fences: bool = False
    log: bool = False
    records: bool = False
    queue: bool = False
    locks: bool = False
    lock_order: bool = False
    priorities: bool = False
    progress: bool = False
    results: bool = False
    delays: bool = False
    charges: bool = False
    keys: bool = False
    deadlock_free: bool = False
    sigterm: SigtermPromise = SigtermPromise.STOPS
    exit_codes: frozenset[int] = frozenset({0})
    quotes: Mapping[str, Quote] = field(default_factory=dict)

    def to_value(self) -> dict[str, Any]:
        """The promises as a JSON object."""
        ordered = {name: sorted(getattr(self, name)) for name in ("survives", "exit_codes")}
        return {**asdict(self), **ordered}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read `to_value`, or the table `[promises]` of a TOML file.

        `recovers_within` may be one number for all of `survives`. Raises `ValueError`, one sentence with the remedy.
        """
        known = {one.name for one in fields(cls)}
        if unknown := sorted(value.keys() - known):
            raise ValueError(f"there is no promise {unknown[0]!r}; choose from {', '.join(sorted(known))}")
        survives = _named_losses("survives", value.get("survives", ()))
        found: dict[str, Any] = {**value, "survives": survives}
        found["recovers_within"] = _times(value.get("recovers_within", {}), survives)
        found["delivery"] = _member(
            DeliveryMode, "delivery", value.get("delivery", DeliveryMode.AT_LEAST_ONCE)
        )
        found["sigterm"] = _member(SigtermPromise, "sigterm", value.get("sigterm", SigtermPromise.STOPS))
        found["exit_codes"] = frozenset(_numbers("exit_codes", value.get("exit_codes", (0,))))
        quotes = value.get("quotes", {})
        _require(isinstance(quotes, Mapping), "quotes", quotes, "a table of quotes by name")
        for name in quotes:
            _require(
                name in known or name in list(Loss), "quotes", name, "the name of a promise or of a loss"
            )
        found["quotes"] = {name: _quote(name, one) for name, one in quotes.items()}
        for name in (one.name for one in fields(cls) if one.type == "bool"):
            _require(isinstance(value.get(name, False), bool), name, value.get(name), "true or false")
        slots, crashes = value.get("slots_per_worker"), value.get("most_crashes")
        found["retry_pauses"] = _pauses(value.get("retry_pauses"))
        for name in ("takes_over_after", "steady_within", "orphans_end_within", "cancels_within"):
            after = value.get(name)
            _require(after is None or _is_time(after), name, after, "a number of seconds")
        _require(
            slots is None or (type(slots) is int and slots > 0),
            "slots_per_worker",
            slots,
            "a whole number from 1 on",
        )
        _require(
            crashes is None or (type(crashes) is int and crashes >= 0),
            "most_crashes",
            crashes,
            "a whole number from 0 on",
        )
        return cls(**found)

    @property
    def slowest_recovery(self) -> float | None:
        """The longest promised time until an interrupted task begins again; None if there is none."""
        return self.recovery_after(Loss) or None

    def recovery_after(self, taken: Iterable[Loss]) -> float:
        """The longest promised time until a task goes on after these losses; 0 if nothing is promised."""
        times = [self.recovers_within[loss] for loss in taken if loss in self.recovers_within]
        return max(self.takes_over_after or 0.0, *times, 0.0)


def promises(history: History) -> Promises | None:
    """The recorded promises; None if the history has none. Raises `ValueError` if they cannot be read."""
    return history.derive(_promises)


def losses(history: History) -> frozenset[Loss]:
    """What the injected faults took from the system, by their recorded `loss` and kind."""
    return history.derive(_losses)


def unsurvived_from(history: History, *, also: Collection[Loss] = ()) -> int | None:
    """When the first loss began that the system does not promise to survive (nanoseconds); None without one.

    What was decided before does not depend on that loss. A history without promises has no such loss; the losses in
    `also` count as survived.
    """
    made = promises(history)
    if made is None:
        return None
    survived = made.survives.union(also)
    return min(
        (one.start for one in injected_faults(history) if not losses_of(one) <= survived), default=None
    )


def delivers_again(history: History) -> bool:
    """Whether the system may deliver a task again without a fault, so that a copy of one that ended may be left."""
    made = promises(history)
    return made is not None and made.delivery is DeliveryMode.AT_LEAST_ONCE and not made.duplicates


def losses_of(fault: FaultWindow) -> frozenset[Loss]:
    """What one fault took from the system; raises `ValueError` if it recorded a `loss` that is none."""
    loss = fault.injection.value.get("loss")
    return taken_by(fault.kind, None if loss is None else _member(Loss, "loss", loss))


def restorations(history: History) -> Sequence[FaultWindow]:
    """The faults that set the store's record back to a backup."""
    return [fault for fault in injected_faults(history) if Loss.DATABASE_RESTORED in losses_of(fault)]


def taken_by(kind: InjectionKind, loss: Loss | None) -> frozenset[Loss]:
    """What a fault of this kind takes: its own loss, and a worker if it kills and does not say that it takes a pool."""
    found = set() if loss is None else {loss}
    if kind is InjectionKind.KILL and loss is not Loss.POOL_KILLED:
        found.add(Loss.WORKER_KILLED)
    return frozenset(found)


def _promises(history: History) -> Promises | None:
    recorded = list(history.where(PROMISES))
    return Promises.from_value(recorded[-1].value) if recorded else None


def _losses(history: History) -> frozenset[Loss]:
    return frozenset().union(*map(losses_of, injected_faults(history)))


def _named_losses(name: str, given: Any) -> frozenset[Loss]:
    _require(isinstance(given, list | tuple | set | frozenset), name, given, "a list")
    return frozenset(_member(Loss, name, one) for one in given)


def _member(kind: type[MemberT], name: str, given: Any) -> MemberT:
    try:
        return kind(given)
    except ValueError:
        _require(False, name, given, f"one of {', '.join(kind)}")
        raise


def _times(given: Any, survives: Iterable[Loss]) -> dict[Loss, float]:
    if _is_time(given):
        return dict.fromkeys(sorted(survives), float(given))
    _require(
        isinstance(given, Mapping), "recovers_within", given, "a number of seconds, or one for each loss"
    )
    for loss, seconds in given.items():
        _require(_is_time(seconds), f"recovers_within.{loss}", seconds, "a number of seconds")
    return {_member(Loss, "recovers_within", loss): float(seconds) for loss, seconds in given.items()}


def _pauses(given: Any) -> RetryPauses | None:
    if given is None or isinstance(given, RetryPauses):
        return given
    fits = (
        isinstance(given, Mapping) and given.keys() == {"base", "cap"} and all(map(_is_time, given.values()))
    )
    _require(fits, "retry_pauses", given, "the seconds `base` and `cap`")
    return RetryPauses(base=float(given["base"]), cap=float(given["cap"]))


def _numbers(name: str, given: Any) -> list[int]:
    fits = isinstance(given, list | tuple | set | frozenset) and all(type(one) is int for one in given)
    _require(fits, name, given, "a list of whole numbers")
    return list(given)


def _quote(name: str, given: Any) -> Quote:
    if isinstance(given, Quote):
        return given
    fits = isinstance(given, Mapping) and all(
        isinstance(given.get(key), str) for key in ("sentence", "address")
    )
    _require(fits, f"quotes.{name}", given, "a sentence and the address of its page")
    return Quote(sentence=given["sentence"], address=given["address"])


def _is_time(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < math.inf


def _require(holds: bool, name: str, given: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(f"the promise {name} is {given!r}; write {wanted}")
