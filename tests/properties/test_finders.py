"""A finder finds a defect, prints it as steps, and finds nothing without a defect."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from agentexec.queue import redis_queue
from agentexec.store import statements
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.status import Status
from tests.properties.finders import FINDERS, find_in_activities, find_in_queue


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
    assert found.steps.startswith("state = QueueMachine()")
    assert (found.steps, found.examples) == (again.steps, again.examples)


@pytest.mark.parametrize("name", FINDERS)
def test_nothing_is_found_in_the_true_implementation(name: str) -> None:
    assert FINDERS[name](15, 1) is None


def test_a_printed_example_fails_when_pasted_and_passes_without_the_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as planted:
        _unfenced_renewal(planted)
        found = find_in_queue(300, 7, shrink=False)
        assert found is not None
        with pytest.raises(AssertionError):
            exec(found.script, {})
    exec(found.script, {})


def test_a_printed_example_of_the_activities_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that overwrites what is over, so that outcomes stand in the example."""
    statement = statements.request_cancel

    def overwriting(connection: Connection, ids: Sequence[UUID], message: str) -> dict[UUID, Status]:
        connection.execute(text(f"UPDATE {ACTIVITY_TABLE} SET status = 'canceled' WHERE status = 'complete'"))
        return statement(connection, ids, message)

    with monkeypatch.context() as planted:
        planted.setattr(statements, "request_cancel", overwriting)
        # Hypothesis also draws constants of the modules that this process has loaded: other processes, other examples.
        examples = (find_in_activities(600, seed, shrink=False) for seed in range(3, 30))
        found = next(one for one in examples if one is not None and "'complete'" in one.script)
        with pytest.raises(AssertionError):
            exec(found.script, {})
    exec(found.script, {})
