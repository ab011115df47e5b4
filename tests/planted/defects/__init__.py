"""The planted defects, in the order of the list in the documents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.planted.defect import Defect
from tests.planted.defects import (
    cancels,
    charges,
    dispatch,
    fences,
    operators,
    queue,
    rebuild,
    record,
    supervision,
    worker,
)
from tests.planted.defects.application import OF_SCENARIOS
from tests.planted.defects.postgres import OF_POSTGRES

__all__ = ["DEFECTS", "EVERY", "PLANTED"]

DEFECTS: Mapping[str, Defect] = MappingProxyType(
    {
        defect.name: defect
        for defect in (
            queue.DESTRUCTIVE_POP,
            worker.ACK_BEFORE_RUN,
            record.NO_FENCE_ON_FINISH,
            queue.FENCE_RESET,
            queue.RENEWAL_STEALS_BACK,
            queue.LOCK_NOT_ON_FIRST_DELIVERY,
            queue.LOCK_FREED_BY_NON_OWNER,
            record.ERROR_BEFORE_RETRY,
            record.STATUS_BY_WALL_CLOCK,
            record.REAPER_OVERWRITES_COMPLETE,
            queue.ENQUEUE_NOT_IDEMPOTENT,
            worker.LATE_COMPLETIONS_DROPPED,
            queue.RELEASE_BURNS_A_RETRY,
            record.CANCEL_OVERWRITES_COMPLETE,
            worker.RECONCILER_RERUNS_COMPLETE,
            worker.REFUSED_RESULT_IS_READ,
            worker.REFUSED_START_RUNS,
            record.RETRY_NOT_CHARGED,
            queue.DELAY_IN_WHOLE_SECONDS,
            worker.OUTBOX_WAITS,
            fences.RESENT_START_COUNTS,
            fences.REVOKED_WITHOUT_FENCE,
            fences.ENDED_UNDER_OLD_TOKEN,
            fences.PROGRESS_WITHOUT_FENCE,
            fences.NOTE_IN_HOLDERS_LOG,
            fences.HAND_BACK_OF_LOST_CLAIM,
            fences.REPLAY_UNNOTICED,
            fences.GONE_WORKER_CLAIMS,
            fences.REGISTERED_AFTER_DEATH,
            fences.STALE_CLAIM_ACKNOWLEDGED,
            fences.RESENT_END_REFUSED,
            dispatch.MARKED_WITHOUT_ROOM,
            dispatch.RESEND_DISPATCHED_ANEW,
            dispatch.DISPATCHED_BEFORE_COMMIT,
            dispatch.DEAD_LETTERS_TAKE_ROOM,
            rebuild.DUE_TIME_NOT_RECORDED,
            rebuild.REBUILT_WITHOUT_DELAY,
            rebuild.REBUILT_WITHOUT_LOCK,
            rebuild.FAILOVER_UNNOTICED,
            rebuild.LATE_END_OF_REBUILD,
            rebuild.LOCKED_BEFORE_REBUILD,
            rebuild.LATE_LOCK_BEFORE_REBUILD,
            cancels.CANCELED_STARTS_AGAIN,
            cancels.CANCEL_LOST_ON_RETRY,
            cancels.WITHDRAWAL_NOT_NOTED,
            cancels.WITHDRAWAL_DONE_WHEN_SENT,
            cancels.WITHDRAWAL_DROPPED_ON_ERROR,
            cancels.ENDED_NOT_WITHDRAWN,
            cancels.CANCELED_KEEPS_LOCK,
            charges.STOP_COUNTS_AS_FAILURE,
            charges.NEIGHBOURS_CHARGED,
            charges.BURIED_BUT_QUEUED,
            supervision.KILLED_NOT_REPLACED,
            supervision.DEATH_NOT_RELEASED,
            supervision.ORPHAN_WORKS_ON,
            supervision.RECONCILER_ENDS,
            supervision.LOST_LEASE_RUNS_ON,
            supervision.RESULT_BEFORE_RECORD,
            operators.FIRST_SETTINGS_STAY,
            operators.ANNOUNCED_ONCE,
            operators.STORE_TAKEN_OVER,
            operators.PURGE_OF_LIVE_TASK,
            operators.DEPTH_WITHOUT_ALONE,
            operators.BACK_AT_ANY_PRIORITY,
            operators.LETTER_NOT_MARKED,
            operators.LETTER_OF_ANY_QUEUE,
            operators.KEY_OF_ANY_QUEUE,
        )
    }
)

PLANTED: Mapping[str, Defect] = MappingProxyType({**DEFECTS, **OF_SCENARIOS})
"""Those of each part of the protocol, and those that only scenarios set off."""

EVERY: Mapping[str, Defect] = MappingProxyType({**PLANTED, **OF_POSTGRES})
"""All of them, with those that only Postgres's form of a statement has."""
