"""Dispatch marks are written a moment later by a separate thread, and block no caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from agentexec.core.db import create_schema, engine_for
from agentexec.producer.dispatch_marker import DispatchMarker
from agentexec.store import statements
from agentexec.store.dialects import ACTIVITY_TABLE
from tests.conftest import Eventually
from tests.support.record import new_activity, row_of


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = engine_for(f"sqlite:///{tmp_path / 'record.db'}")
    create_schema(engine)
    yield engine
    engine.dispose()


def test_a_mark_is_written_without_waiting_for_more_or_for_the_end(
    engine: Engine, eventually: Eventually
) -> None:
    activity = new_activity()
    with engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
    marker = DispatchMarker(engine, one_writer=nullcontext())
    marker.add([activity.id])
    eventually(lambda: row_of(engine, activity.id).dispatched)
    marker.close()


def test_closing_writes_what_is_left(engine: Engine) -> None:
    activities = [new_activity() for _ in range(3)]
    with engine.begin() as connection:
        statements.record_enqueued(connection, activities)
    marker = DispatchMarker(engine, one_writer=nullcontext())
    for activity in activities:
        marker.add([activity.id])
    marker.close()
    assert all(row_of(engine, activity.id).dispatched for activity in activities)


def test_a_marker_without_marks_needs_no_thread(engine: Engine) -> None:
    marker = DispatchMarker(engine, one_writer=nullcontext())
    marker.add([])
    assert marker._thread is None
    marker.close()


def test_a_mark_that_cannot_be_written_is_a_warning_and_the_next_one_is_written(
    engine: Engine, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    activity = new_activity()
    with engine.begin() as connection:
        statements.record_enqueued(connection, [activity])
        connection.execute(text(f"ALTER TABLE {ACTIVITY_TABLE} RENAME TO elsewhere"))
    marker = DispatchMarker(engine, one_writer=nullcontext())
    with caplog.at_level(logging.WARNING, "agentexec"):
        marker.add([activity.id])
        eventually(lambda: "could not mark 1 dispatched task(s)" in caplog.text)
    assert "\n" not in caplog.messages[0], "the statement is not in the log"
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE elsewhere RENAME TO {ACTIVITY_TABLE}"))
    marker.add([activity.id])
    marker.close()
    assert row_of(engine, activity.id).dispatched
