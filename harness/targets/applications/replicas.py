"""As many processes of a worker command as the run wants, for systems whose worker command runs one.

`python -m harness.targets.applications.replicas COMMAND...`
"""

from __future__ import annotations

import sys

from harness.kit.harness_worker import pool

if __name__ == "__main__":
    pool.run(sys.argv[1:])
