"""What a target promises: its own promises, or all that the reference implementation does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.history.promises import Loss, Promises, RetryPauses, SigtermPromise
from harness.targets.base import Target, TargetSettings

REPLACED_WITHIN_SECONDS = 2.0
"""The bound of agentexec for a task whose worker dies in a pool that lives.

For a task whose pool dies, the lease is added: it expires before another pool takes the task.
"""

COMPARED_WITHIN_SECONDS = 62.0
"""Two comparisons of the record with the queue by agentexec, 30 s apart: they find what only the record has."""

MOST_CRASHES = 5
"""How often the workers of a task may die of it in agentexec, by default."""


CANCELED_WITHIN_SECONDS = 3.0
"""The bound of agentexec for a cancel: half a second, and two rounds of its reconciler if Redis lost the request."""

ORPHAN_LEASES = 1.25
"""A worker of agentexec that cannot renew a lease cancels its handler after at most so many leases."""

RETRY_PAUSES = RetryPauses(base=1.0, cap=300.0)
"""The pauses before retries in agentexec, by default."""


def everything(settings: TargetSettings) -> Promises:
    """The promises of the reference implementation under these settings."""
    return promises_of_reference(settings.lease)


def promises_of_reference(lease: float) -> Promises:
    """The promises of the reference implementation; `lease` in seconds."""
    return Promises(
        survives=frozenset(Loss),
        recovers_within={
            Loss.WORKER_KILLED: REPLACED_WITHIN_SECONDS,
            Loss.POOL_KILLED: lease + REPLACED_WITHIN_SECONDS,
            Loss.DATABASE_RESTORED: COMPARED_WITHIN_SECONDS + lease,
        },
        takes_over_after=lease,
        steady_within=lease + REPLACED_WITHIN_SECONDS,
        most_crashes=MOST_CRASHES,
        orphans_end_within=ORPHAN_LEASES * lease,
        cancels_within=CANCELED_WITHIN_SECONDS,
        retry_pauses=RETRY_PAUSES,
        duplicates=True,
        fences=True,
        log=True,
        records=True,
        queue=True,
        locks=True,
        lock_order=True,
        priorities=True,
        progress=True,
        results=True,
        delays=True,
        charges=True,
        keys=True,
        deadlock_free=True,
        sigterm=SigtermPromise.RELEASES,
    )


def promised(target: Target, settings: TargetSettings) -> Promises:
    """The promises of a target; one without a method `promises` promises `everything` that each history can show.

    That is not what handlers return, when delayed tasks and retries begin, in which order the tasks of a lock key do,
    when a handler ends that lost its task, and how failures are counted: its session need not give evidence of these.
    """
    own = getattr(target, "promises", None)
    if own is not None:
        found: Promises = own(settings)
        return found
    unshown: dict[str, Any] = dict.fromkeys(("results", "delays", "charges", "keys", "lock_order"), False)
    return without_times_of_handlers(replace(everything(settings), **unshown))


def without_times_of_handlers(made: Promises) -> Promises:
    """The promises without those that depend on the handlers of an application and on its settings."""
    return replace(made, orphans_end_within=None, cancels_within=None, retry_pauses=None)
