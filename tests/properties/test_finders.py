"""A finder finds what is there, says it as steps, and finds nothing where nothing is."""

from __future__ import annotations

import pytest

from agentexec import redis_queue
from tests.properties.finders import FINDERS, find_in_queue


def _unfenced_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    true_source = redis_queue.script_source

    def source(name: str, *, flags: bool) -> str:
        return true_source(name, flags=flags).replace("if gone or holder(id) ~= token then", "if gone then")

    assert source("renew", flags=False) != true_source("renew", flags=False)
    monkeypatch.setattr(redis_queue, "script_source", source)


def test_a_renewal_that_steals_back_is_found_and_the_same_seed_finds_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _unfenced_renewal(monkeypatch)
    found, again = (find_in_queue(300, 7, shrink=False) for _ in range(2))
    assert found is not None
    assert again is not None
    assert 1 <= found.examples <= 300
    assert found.steps.startswith("state = ")
    assert (found.steps, found.examples) == (again.steps, again.examples)


@pytest.mark.parametrize("name", FINDERS)
def test_nothing_is_found_in_the_true_implementation(name: str) -> None:
    assert FINDERS[name](15, 1) is None
