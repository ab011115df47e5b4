"""A new version is rolled back and out again, and the schema is migrated under both, while tasks of both arrive.

The schema goes to the revision before the newest one and to the newest one, by the target's own migrations. The old
version cannot run the tasks and payloads of the new one. Would fail for a migration that locks a table for long, that
deadlocks with the pools, or that breaks the statements of an old pool.
"""

from __future__ import annotations

from harness.checkers import standard
from harness.faults.chores import MigrateSchema
from harness.faults.process import replace_pool
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks
from harness.workloads.versioned_tasks import VersionedTasks

_GRACEFUL = 2.0

SCENARIO = Scenario(
    name="rolling-migration",
    summary="the schema is migrated back and forth under pools of an old and of a new version",
    workload=VersionedTasks(tasks=NumberedTasks(rate=14.0, work=(0.05, 0.25)), new=0.5),
    faults=(
        replace_pool(at=0.08, graceful=_GRACEFUL, beside=1.0),
        MigrateSchema(at=0.25, previous=True),
        MigrateSchema(at=0.4),
        replace_pool(at=0.55, graceful=_GRACEFUL, beside=1.0),
        MigrateSchema(at=0.7, previous=True),
        MigrateSchema(at=0.85),
    ),
    checkers=standard(recovery_p99=None, minimum_faults=5),
    own_servers=True,
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0, graceful_shutdown=_GRACEFUL, versions=(2, 1, 2)),
)
