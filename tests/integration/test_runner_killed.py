"""SIGKILL of the runner in the middle of a fault: the fault ends, and nothing of the run is left.

`python -m tests.runner_killed` does the same for each kind of fault.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from harness.environments.memory_group import why_no_group
from tests.conftest import Eventually
from tests.runner_killed import GONE_SECONDS, KilledRun, kinds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# A frozen server, busy processes and bound workers, a forked child, a server in another state, seven servers, a cgroup.
FAULTS = (
    *(
        "kill-while-postgres-stands",
        "starve-workers",
        "kill-forked-worker",
        "fill-redis",
        "freeze-redis-primary",
    ),
    *(["exceed-memory-group"] if why_no_group() is None else []),
)


def is_clean(run: KilledRun) -> bool:
    return not run.left()


def test_nothing_is_left_of_a_fault_whose_runner_is_killed(eventually: Eventually) -> None:
    with tempfile.TemporaryDirectory(prefix="k-") as name:
        place = Path(name)
        place.chmod(0o755)  # the user of Postgres enters it
        known = kinds()
        runs = [KilledRun(known[fault].arguments(), place / fault) for fault in FAULTS]
        with ThreadPoolExecutor(len(runs)) as pool:  # each at its fault, while the others go on
            assert all(others > 1 for others in pool.map(KilledRun.kill, runs))
        for run in runs:
            eventually(partial(is_clean, run), deadline=GONE_SECONDS)
