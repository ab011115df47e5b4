"""The options with which the fixture of pytest runs a scenario."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.pytest_plugin.fixture import ChaosFixture, ChaosOptions
from harness.scenario import registry
from harness.targets.agentexec_target import TARGET


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "of-the-fixture"),
        ({"target": "mine:TARGET"}, "mine:TARGET"),
        ({"target": TARGET}, None),
        ({"app": "shop:SHOP"}, None),
    ],
)
def test_the_producers_of_a_run_find_a_target_that_has_a_name(
    tmp_path: Path, given: dict[str, Any], name: str | None
) -> None:
    request: Any = SimpleNamespace(
        config=SimpleNamespace(getoption=lambda _: 1),
        node=SimpleNamespace(nodeid="test_mine"),
        getfixturevalue=lambda _: "of-the-fixture",
    )
    fixture, scenario = ChaosFixture(request, reports=tmp_path), registry.scenario("kill-producer")
    assert fixture._settings(scenario, TARGET, ChaosOptions.of(given)).target_name == name
