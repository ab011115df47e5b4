"""A pool for a system whose own worker command is one process: as many processes of it as the run has workers.

`python -m harness.targets.applications.replicas COMMAND...` starts a worker again that ends, and ends with the worst of
their exit codes after SIGTERM (`harness_worker.pool`).
"""

from __future__ import annotations

import sys

from harness.kit.harness_worker import pool

if __name__ == "__main__":
    pool.run(sys.argv[1:])
