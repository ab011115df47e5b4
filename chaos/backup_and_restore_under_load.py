"""Backups are taken under load and restored elsewhere, and twice the record is set back to one while pools go on.

Would fail for a record that is not whole at each moment, such as a row without its log, and for a system that loses
more than what was recorded after the backup: Redis is younger than the record then, and knows other tasks than it.
"""

from __future__ import annotations

from harness.checkers import backups, beyond_backups, budget_per_restoration, duplicates, standard
from harness.faults.backup import BackUp, RestoreBackup
from harness.scenario import PoolNeeds, Scenario
from harness.workloads.numbered_tasks import NumberedTasks

_ASKED = standard(recovery_p99=None, minimum_faults=4) | {"duplicates": duplicates(budget_per_restoration)}

SCENARIO = Scenario(
    name="backup-and-restore-under-load",
    summary="two backups are restored elsewhere, and twice the record is set back to one while pools go on",
    workload=NumberedTasks(rate=20.0, work=(0.2, 0.5)),
    faults=(BackUp(at=0.1), RestoreBackup(at=0.3), BackUp(at=0.55), RestoreBackup(at=0.75)),
    checkers={name: beyond_backups(checker) for name, checker in _ASKED.items()} | {"backups": backups()},
    # The tasks that only the record has are found by a comparison every 30 s.
    timeout=120.0,
    own_servers=True,
    pool=PoolNeeds(workers=2, concurrency=4, lease=3.0),
)
