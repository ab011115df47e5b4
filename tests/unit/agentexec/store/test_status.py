"""The table of moves: it governs the statements, and the documentation shows it."""

from __future__ import annotations

import pytest

from agentexec.store import statements, status
from agentexec.store.changes import ActivityChange
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.models import metadata
from agentexec.store.status import MOVES, Move, Status, sources, sql_in
from tests.support import activity_states

CHANGES = {each.name: each for each in vars(statements).values() if isinstance(each, ActivityChange)}
MOVING = {name: change for name, change in CHANGES.items() if name != "enqueue"}
FORMS = pytest.mark.parametrize("postgres", [True, False], ids=["postgres", "sqlite"])


def test_the_statements_of_the_table_are_the_changes() -> None:
    assert {move.statement for move in MOVES} == set(MOVING)


@FORMS
@pytest.mark.parametrize("name", MOVING)
def test_a_statement_starts_from_the_states_of_the_table(name: str, postgres: bool) -> None:
    assert "{sources}" in MOVING[name].sql
    assert f"status {sql_in(sources(name))}" in MOVING[name].activity_sql(postgres=postgres)


@FORMS
@pytest.mark.parametrize("name", MOVING)
def test_another_table_makes_other_statements(
    monkeypatch: pytest.MonkeyPatch, name: str, postgres: bool
) -> None:
    before = MOVING[name].activity_sql(postgres=postgres)
    moves = (*MOVES, Move(Status.COMPLETE, Status.CANCELED, name, "for this test"))
    monkeypatch.setattr(status, "MOVES", moves)
    after = MOVING[name].activity_sql(postgres=postgres)
    assert "'complete'" in after
    assert after != before


def test_a_condition_on_states_is_in_the_order_of_the_states() -> None:
    assert sql_in({Status.RUNNING, Status.QUEUED}) == "IN ('queued', 'running')"
    assert sql_in([Status.RUNNING]) == "= 'running'"


def test_the_partial_indexes_have_the_conditions_of_the_queries() -> None:
    indexes = metadata.tables[ACTIVITY_TABLE].indexes
    where = {str(index.name): str(index.dialect_options["postgresql"]["where"]) for index in indexes}
    (pending,) = (text for name, text in where.items() if name.endswith("_pending"))
    assert pending == "status IN ('queued', 'running')"


def test_the_page_shows_the_table() -> None:
    assert activity_states.generated() in activity_states.PAGE.read_text("utf-8")
