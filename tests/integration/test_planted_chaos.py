"""Planted defects in real processes: the pool has them, the producer has them, and the checkers find them."""

from __future__ import annotations

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.scenario import registry
from tests.planted.defects import DEFECTS
from tests.planted.searches import chaos
from tests.planted.target import PlantedTarget

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_a_target_by_its_name(name: str) -> None:
    target = registry.target(f"tests.planted.target:{name.upper().replace('-', '_')}")
    assert isinstance(target, PlantedTarget)
    assert target.defect is DEFECTS[name]


@pytest.mark.parametrize(
    ("name", "chaos_run", "checker"),
    [
        ("enqueue-not-idempotent", "messages-sent-twice", "duplicates"),
        ("error-before-retry", "failing-tasks", "transitions"),
    ],
)
def test_a_chaos_run_finds_a_defect_and_nothing_where_there_is_none(
    servers: EmbeddedEnvironment, name: str, chaos_run: str, checker: str
) -> None:
    found = chaos(chaos_run, DEFECTS[name], servers).found
    assert found is not None
    assert checker in found.split(", ")
    assert chaos(chaos_run, None, servers).found is None
