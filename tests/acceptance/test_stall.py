"""A stop of the workers: open arrivals see all of it, users of a closed model beside them one slow task each."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import UsageError
from loadtests import stall
from loadtests.stall.output import stall_picture, stall_table
from loadtests.stall.stalls import run_stall
from loadtests.work import TASK_NAME

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_a_closed_model_sees_little_of_a_stop_that_open_arrivals_see(
    servers: EmbeddedEnvironment, tmp_path: Path
) -> None:
    folder = tmp_path / "workers"
    found = run_stall(servers, "workers", seconds=2.5, lasting=6, folder=folder)
    seen, beside = found.seen["open"], found.seen["closed"]
    due = 1.5 * stall.RATE  # in the first part of the stop
    assert seen.slow >= due > 2 * beside.slow
    assert beside.slow >= stall.USERS
    assert {f"TASK {TASK_NAME}", f"WAIT {TASK_NAME}"} <= set(seen.breached)
    assert seen.code != 0
    assert min(one.latencies.most or 0 for one in found.seen.values()) > 2.4
    head, _, *rows = stall_table([found]).splitlines()
    assert head.count("|") == rows[0].count("|") == rows[1].count("|")
    drawn = [element.tag.rpartition("}")[2] for element in ET.fromstring(stall_picture(found)).iter()]
    assert drawn.count("svg") == 1 + 2 * 3, "two heat maps and the quantiles"
    with pytest.raises(UsageError, match="has an earlier run"):
        run_stall(servers, "workers", seconds=1, lasting=1, folder=folder)
