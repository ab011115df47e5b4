"""The planted defects, in the order of the list in the documents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.planted.defect import Defect
from tests.planted.defects import queue, record, worker

__all__ = ["DEFECTS"]

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
        )
    }
)
