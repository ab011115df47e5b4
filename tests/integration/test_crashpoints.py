"""Crashpoints on real processes and servers find planted defects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.crashpoints.lane import LaneSettings
from harness.crashpoints.points import CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.run import CrashpointsRun
from harness.environments.embedded import EmbeddedEnvironment
from harness.progress import Quiet
from harness.scenario import registry

pytestmark = pytest.mark.integration

_SECONDS = 100.0
_FINISH = "UPDATE agentexec_activity + INSERT agentexec_activity_log"


def worker_strike(service: str, name: str, occurrence: int, kind: CrashKind) -> CrashStrike:
    point = Point(
        life="plain",
        role="worker",
        service=service,
        client="agentexec-worker",
        name=name,
        occurrence=occurrence,
    )
    return CrashStrike(point=point, kind=kind)


@pytest.fixture
def struck(
    servers: EmbeddedEnvironment, tmp_path: Path
) -> Callable[[str, Sequence[CrashStrike]], list[CrashRow]]:
    """Strike a target by its name; the rows in the order of the strikes."""

    def strike(target: str, strikes: Sequence[CrashStrike]) -> list[CrashRow]:
        run = CrashpointsRun(
            settings=LaneSettings(
                target_name=target, target=registry.target(target), lease=1.0, patience=2.0
            ),
            environment=servers,
            folder=tmp_path / target.rpartition(":")[2],
            jobs=1,
            deadline=time.monotonic() + _SECONDS,
            progress=Quiet(),
            on_row=lambda row: None,
        )
        with run:
            return run.strike(strikes)

    return strike


def test_a_worker_that_dies_between_claim_and_finish_shows_an_acknowledgement_that_came_too_early(
    struck: Callable[[str, Sequence[CrashStrike]], list[CrashRow]],
) -> None:
    strike = worker_strike("postgres", "BEGIN", 1, CrashKind.KILLED_BEFORE)
    [row] = struck("tests.planted.target:ACK_BEFORE_RUN_UNRECONCILED", [strike])
    assert (row.verdict, row.outcome) == (Verdict.INVALID, "stuck")


def test_a_finish_that_arrives_after_another_run_began_shows_a_fence_that_is_missing(
    struck: Callable[[str, Sequence[CrashStrike]], list[CrashRow]],
) -> None:
    late = worker_strike("postgres", _FINISH, 2, CrashKind.KILLED_LATE)
    [row] = struck("tests.planted.target:NO_FENCE_ON_FINISH", [late])
    assert (row.verdict, row.outcome) == (Verdict.INVALID, "illegal")
