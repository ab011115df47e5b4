"""Named events that some simulated runs reach, and how many runs of a campaign reached each of them.

A campaign that finds nothing has shown little if what it searched for could not happen in it. So each rare state of the
system has a name here, and probes note which of them a run reaches. The servers of a run have the probes; the system
under test has none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

# The greatest probability with which a campaign misses one event by chance alone and is UNKNOWN for it.
MISSED_BY_CHANCE = 1e-6


class Sometimes(NamedTuple):
    """An event: its meaning, and a number of runs of which, as measured, at least one reaches it on average.

    `one_in` is not below the inverse of the lower 99 % bound of the measured density.
    """

    meaning: str
    one_in: float

    @property
    def budget(self) -> int:
        """The number of runs from which on a campaign must have reached it."""
        return math.ceil(math.log(MISSED_BY_CHANCE) / math.log1p(-1 / self.one_in))


SOMETIMES: Mapping[str, Sometimes] = MappingProxyType(
    {
        # Leases
        "lease-expires": Sometimes("a step revokes an expired lease", 3.1),
        "finish-after-expiry": Sometimes("a worker ends a task after another step revoked its lease", 8),
        "finish-after-loss": Sometimes("a worker ends a task that Redis has lost", 5.7),
        "finish-in-rebuild": Sometimes("a worker ends a task before the queue is rebuilt", 6),
        "renewal-after-expiry": Sometimes("a lease is renewed after its deadline and before any step", 18),
        "renewal-after-revocation": Sometimes("a renewal comes after the lease was revoked", 3.5),
        "drain-releases": Sometimes("a worker that drains releases the lease of an unfinished task", 3.1),
        "uncharged-release": Sometimes("a supervisor releases leases that are charged to no task", 118),
        "crash-charged": Sometimes("the death of a worker is charged to its only task", 5.2),
        "crash-shared": Sometimes("several tasks share the death of their worker", 5.5),
        "crash-before-start": Sometimes("a worker dies before any start of its tasks is recorded", 7.1),
        "release-by-neighbour": Sometimes("a pool releases the leases of a dead worker of another pool", 5.3),
        "suspect-runs-alone": Sometimes("a task that was in two deaths runs alone", 6.1),
        "worker-empties-for-suspect": Sometimes(
            "a worker claims nothing, so that a suspect can run alone", 3050
        ),
        "dead-letter-by-crashes": Sometimes("a task becomes a dead letter by crashes", 616),
        "dead-letter-by-worker": Sometimes("a worker makes a failed task a dead letter", 2.7),
        # Claims
        "low-before-high": Sometimes("a LOW task is claimed while a HIGH one is ready", 3.5),
        "token-above-clock": Sometimes("tokens rise although the clock of the server went back", 16),
        "token-above-lost-fence": Sometimes(
            "the lowest token of a worker decides, as Redis lost its fence", 17
        ),
        "claim-in-rebuild": Sometimes("a task is claimed before the queue is rebuilt", 3.6),
        "late-claim": Sometimes("a late step claims tasks for a worker that gave it up", 26),
        "step-repeated": Sometimes("a step is sent again and gets the stored reply", 6.3),
        "step-repeated-without-a-claim": Sometimes("the stored reply omits a claim that was revoked", 534),
        "step-of-dead-worker": Sometimes("a step of a worker that was declared dead is refused", 43),
        "unknown-task-goes-back": Sometimes("a pool hands back a task that it does not know", 5.4),
        # Delays and lock keys
        "delay-ends": Sometimes("a delayed task or a retry becomes ready", 1.2),
        "delay-ends-in-rebuild": Sometimes("a delayed task or a retry becomes ready during a rebuild", 16),
        "dispatch-parks": Sometimes("a task is parked behind the head of its lock key", 2.8),
        "parked-follows-ended": Sometimes("a parked task becomes ready by the end of its head", 2.4),
        "parked-follows-deferred": Sometimes("a parked task becomes ready as its head was deferred", 18909),
        "late-lock-key-parks": Sometimes(
            "a claimed task is parked by a lock key that only the worker knew", 3.3
        ),
        "late-lock-key-in-rebuild": Sometimes("such a task waits for the end of a rebuild", 13),
        "late-lock-key-of-lost-lease": Sometimes("such a task had lost its lease before", 38),
        "lock-key-waits-for-rebuild": Sometimes("a task with a lock key is refused until the rebuild", 13),
        # Dispatch, full queues and rebuilds
        "dispatch-repeated": Sometimes("a task is dispatched that the queue has already", 4.4),
        "pool-dispatches": Sometimes("a pool dispatches a task that its producer did not", 3.9),
        "full-queue-refuses": Sometimes("a full queue refuses a task", 6.4),
        "full-queue-takes-later": Sometimes("a refused task is offered again and taken", 6.5),
        "rebuild-begins": Sometimes("a pool begins to rebuild a queue that lost its contents", 2.9),
        "rebuild-restores": Sometimes("a rebuild dispatches a pending task", 3.2),
        "rebuild-by-two-pools": Sometimes("a second pool joins a rebuild under way", 1.5),
        "rebuild-ended-by-another": Sometimes("a pool ends a rebuild that is over already", 1.5),
        "rebuild-in-vain": Sometimes("Redis loses its contents again during a rebuild", 377),
        "loss-while-postgres-is-away": Sometimes(
            "Redis loses its contents while Postgres does not answer", 17
        ),
        # Cancels
        "cancel-between-claim-and-start": Sometimes(
            "a cancel comes after the claim and before the start", 144
        ),
        "cancel-of-leased": Sometimes("the queue is asked to stop a leased task", 7.9),
        "cancel-of-ready": Sometimes("the queue removes a ready task", 34),
        "cancel-of-scheduled": Sometimes("the queue removes a task that waits for its time", 9.7),
        "cancel-of-parked": Sometimes("the queue removes a parked task", 123),
        "cancel-of-unknown": Sometimes("the queue does not know the canceled task", 3.5),
        "cancel-of-canceled-row": Sometimes("a queued activity is canceled at once", 6.3),
        "cancel-of-running-row": Sometimes("a running activity gets a cancel request", 12),
        "cancel-in-step-reply": Sometimes("a worker receives a cancel request by a step", 13),
        "cancel-in-renewal-reply": Sometimes("a worker receives a cancel request by a renewal", 42),
        # The record
        "start-under-lower-fence": Sometimes("a start is refused, as the fence of the row is not lower", 110),
        "start-of-ended-task": Sometimes("a start is refused, as the activity is terminal", 4.6),
        "start-of-canceled-task": Sometimes("a start is refused, as a cancel was requested", 419),
        "start-refused-by-lock-key": Sometimes("a start is refused, as another task has its lock key", 616),
        "start-repeated": Sometimes("a start is sent again after its reply was lost", 30),
        "end-under-lower-fence": Sometimes("an end is refused, as the row has another fence", 5.4),
        "end-repeated": Sometimes("an end is sent again after its reply was lost", 21),
        "end-of-ended-run": Sometimes("an end is refused, as the run was ended by somebody else", 106),
        "revocation-of-moved-row": Sometimes("a revocation comes after the row moved on", 2.9),
        "row-without-lease-requeued": Sometimes("the comparison requeues a running row without a lease", 616),
        "enqueue-known-already": Sometimes("an enqueue finds its idempotency key", 1.7),
        "start-of-deleted-row": Sometimes("a start is refused, as the row was moved into the archive", 25),
        "end-of-deleted-row": Sometimes("an end is refused, as the row was moved into the archive", 33),
        "clean-up-moves-rows": Sometimes("a clean-up moves activities into the archive", 6.5),
        "comparison-restores": Sometimes("a comparison dispatches a task whose keys Redis lost", 43),
        # What clients and handlers see
        "lease-given-up-in-silence": Sometimes("a worker releases a lease, as Postgres is silent", 21),
        "activity-by-hand-ends": Sometimes("a service ends an activity that it keeps by hand", 5),
        "handler-gives-up": Sometimes("a handler ends its own activity as an error", 3.6),
        "handler-raises-for-good": Sometimes("a handler raises what its registration does not retry", 3.6),
        "result-has-no-json": Sometimes("a handler returns what JSON does not have", 3.6),
        "result-is-refused": Sometimes("a trigger of the database refuses a result", 3.8),
        "progress-is-replaced": Sometimes("a handler reports more than a batch takes", 6),
        "soft-limit-ends-run": Sometimes("a soft time limit ends a run", 9),
        "hard-limit-ends-worker": Sometimes("a hard time limit ends a worker", 19),
        "worker-recycled": Sometimes("a worker leaves after its number of tasks", 9),
        "key-of-another-task": Sometimes("an enqueue is refused, as its key belongs to another task", 2.8),
        "enqueue-without-outcome": Sometimes("a client does not learn the outcome of an enqueue", 3.5),
        "enqueue-succeeds-again": Sometimes("a client enqueues again after an error", 3.6),
        "resent-after-reply": Sometimes("a client sends an enqueue again that had succeeded", 2.6),
        "result-read-by-client": Sometimes("a client reads the result of a task that ended", 2.6),
        "handler-stopped": Sometimes("a handler is stopped", 2),
        "interrupted-task-runs-again": Sometimes("a task runs again after its process died", 3.3),
        "retry-succeeds": Sometimes("a handler fails, and its retry succeeds", 1.7),
        "retries-used-up": Sometimes("a handler fails more often than retries are allowed", 2.7),
        "fourth-attempt": Sometimes("a task begins more often than its retries explain", 2.9),
        "runs-overlap": Sometimes("a run of a task begins before the previous one ended", 9.6),
        "task-completes-twice": Sometimes("the handler of one task returns twice", 4.9),
        "effect-refused": Sometimes("an effect outside refuses a token that is not higher", 814),
        # Faults at one moment, or at one side of a call
        "faults-together": Sometimes("two faults strike within 20 ms", 2),
        "worker-killed-in-drain": Sometimes("a worker of a pool that drains is killed", 165),
        "pool-killed-in-drain": Sometimes("a pool that drains is killed", 232),
        "late-step": Sometimes("a step arrives after its sender gave up", 9.1),
        "late-renew": Sometimes("a renewal arrives after its sender gave up", 38),
        "reply-lost-enqueue": Sometimes("the reply of the enqueue script is lost", 17),
        "reply-lost-step": Sometimes("the reply of the step script is lost", 7.1),
        "reply-lost-renew": Sometimes("the reply of the renew script is lost", 41),
        "reply-lost-lock": Sometimes("the reply of the lock script is lost", 138),
        "reply-lost-register": Sometimes("the reply of the register script is lost", 11),
        "reply-lost-release": Sometimes("the reply of the release script is lost", 1411),
        "reply-lost-hand-back": Sometimes("the reply of the hand-back script is lost", 5826),
        "reply-lost-request-cancel": Sometimes("the reply of the cancel script is lost", 1964),
        "reply-lost-enqueue-commit": Sometimes("the reply of a committed enqueue is lost", 8.6),
        "reply-lost-start-commit": Sometimes("the reply of a committed start is lost", 29),
        "reply-lost-finish-commit": Sometimes("the reply of a committed end is lost", 24),
        "reply-lost-revoke-commit": Sometimes("the reply of a committed revocation is lost", 1411),
        "killed-after-step": Sometimes("a worker dies between a step and its reply", 9),
        "killed-after-start-commit": Sometimes("a worker dies between a committed start and its reply", 36),
        "killed-after-finish-commit": Sometimes("a worker dies between a committed end and its reply", 36),
        "killed-after-release": Sometimes("a process dies between a release and its reply", 61),
        "killed-after-enqueue-commit": Sometimes("a producer dies between a commit and its dispatch", 16),
        "stalled-after-step": Sometimes("a worker stalls between a step and its reply", 8.9),
        "stalled-after-start-commit": Sometimes(
            "a worker stalls between a committed start and its reply", 45
        ),
        "stalled-after-finish-commit": Sometimes("a worker stalls between a committed end and its reply", 34),
        "step-while-redis-is-away": Sometimes("a step meets a Redis that does not answer", 6.2),
        "enqueue-while-redis-is-away": Sometimes("a dispatch meets a Redis that does not answer", 6.1),
        "renew-while-redis-is-away": Sometimes("a renewal meets a Redis that does not answer", 12),
        "release-while-redis-is-away": Sometimes("a release meets a Redis that does not answer", 19),
    }
)
"""Every named event."""


@dataclass(kw_only=True, slots=True)
class Reach:
    """How many of `runs` runs reached each event."""

    runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, runs: int, counts: Mapping[str, int] | Iterable[str]) -> None:
        """Add the counts of several runs, or the names that one run reached."""
        self.runs += runs
        self.counts.update(counts)

    @property
    def required(self) -> Sequence[str]:
        """The events that so many runs reach, except with a negligible probability."""
        return [name for name, event in SOMETIMES.items() if event.budget <= self.runs]

    @property
    def missing(self) -> Sequence[str]:
        """The required events that no run reached: the campaign is UNKNOWN."""
        return [name for name in self.required if not self.counts[name]]

    @property
    def line(self) -> str:
        """One line for the terminal."""
        reached = sum(1 for name in SOMETIMES if self.counts[name])
        text = f"{reached} of {len(SOMETIMES)} named events reached; {len(self.required)} must be in so many runs"
        return f"{text}; UNKNOWN: none reached {', '.join(self.missing)}" if self.missing else text

    def text(self) -> str:
        """The table as Markdown."""
        head = f"# {self.line}\n\n| runs | share | required from | event | meaning |\n| --: | --: | --: | --- | --- |\n"
        rows = "| {runs:,} | {share:.2%} | {required from:,} | `{event}` | {meaning} |\n"
        return head + "".join(rows.format_map(row) for row in self.table())

    def table(self) -> Sequence[Mapping[str, object]]:
        """A row for each event, the rarest first."""
        rows = [
            {
                "event": name,
                "meaning": event.meaning,
                "runs": self.counts[name],
                "share": self.counts[name] / self.runs if self.runs else 0.0,
                "required from": event.budget,
            }
            for name, event in SOMETIMES.items()
        ]
        return sorted(rows, key=lambda row: (row["runs"], row["event"]))
