"""Planted defects in real processes: the pool has them, the producer has them, and the checkers find them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.scenario import registry
from tests.planted.defects import DEFECTS
from tests.planted.looks import chaos
from tests.planted.target import PlantedTarget
from tests.support.servers import shared_environment

pytestmark = pytest.mark.integration


@pytest.fixture
def servers() -> Iterator[EmbeddedEnvironment]:
    with shared_environment() as environment:
        yield environment


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_a_target_by_its_name(name: str) -> None:
    target = registry.target(f"tests.planted.target:{name.upper().replace('-', '_')}")
    assert isinstance(target, PlantedTarget)
    assert target.defect is DEFECTS[name]


@pytest.mark.parametrize(
    ("name", "course", "checker"),
    [
        ("enqueue-not-idempotent", "messages-sent-twice", "duplicates"),
        ("error-before-retry", "failing-tasks", "transitions"),
    ],
)
def test_a_chaos_run_finds_a_defect_and_nothing_where_there_is_none(
    servers: EmbeddedEnvironment, name: str, course: str, checker: str
) -> None:
    found = chaos(course, DEFECTS[name], servers).found
    assert found is not None
    assert checker in found.split(", ")
    assert chaos(course, None, servers).found is None
