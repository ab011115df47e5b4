"""Defects of what an application or an operator sets off, which only the scenarios of `--tag release` do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.planted.defect import ACTIVITY_MACHINE, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.edits import Edit

_NOT_DONE = dict.fromkeys((QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION), "it does not do that")


def _of_scenario(name: str, part: str, imitates: str, breaks: str, edit: Edit) -> Defect:
    return Defect(name=name, imitates=imitates, breaks=breaks, part=part, edits=(edit,), blind=_NOT_DONE)


OF_SCENARIOS: Mapping[str, Defect] = MappingProxyType(
    {
        defect.name: defect
        for defect in (
            _of_scenario(
                "cleanup-takes-pending",
                "statement retention",
                "a clean-up by age alone",
                "a task that waits for long is gone",
                Edit(where="agentexec.activity.retention:_batch", old="~in_status(PENDING), ", new=""),
            ),
            _of_scenario(
                "startup-cancels-live",
                "statement startup",
                "agentexec 0.3.0 cancels every pending activity when a service starts",
                "the start of a service cancels what other pools run",
                Edit(where="agentexec.activity.startup:_orphans", old=" if i not in known", new=""),
            ),
            _of_scenario(
                "retry-at-once",
                "hand-over handler to record",
                "a queue that puts a failed task back into its list",
                "a service that is down is asked again without any pause",
                Edit(
                    where="agentexec.worker.runner:retry_delay",
                    old="min(cap, base * 2 ** min(attempt - 1, 60))",
                    new="0.0",
                ),
            ),
            _of_scenario(
                "key-forgotten",
                "statement ENQUEUED",
                "a key that only the queue compares, and the queue was emptied",
                "a submission that is sent again becomes a second task",
                Edit(
                    where="agentexec.store.statements:ENQUEUED",
                    old="v.idempotency_key, v.lock_key",
                    new="NULL, v.lock_key",
                ),
            ),
            _of_scenario(
                "cancel-of-running-ignored",
                "hand-over cancel to holder",
                "a cancel that only takes a task out of the queue",
                "a task that runs goes on after its cancel was accepted",
                Edit(
                    where="lua/cancel.lua",
                    old="redis.call('HSET', CANCEL, ARGV[i], '1')",
                    new="redis.call('HDEL', CANCEL, ARGV[i])",
                ),
            ),
            _of_scenario(
                "poison-for-ever",
                "script step",
                "a queue without a limit of deliveries",
                "a task whose workers die of it stops a pool for good",
                Edit(where="lua/common.lua", old="if crashes > max_crashes then", new="if crashes < 0 then"),
            ),
        )
    }
)
