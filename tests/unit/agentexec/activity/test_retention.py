"""Retention takes old activities that are over, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec.activity import Activity, ActivityLog, cleanup_old_activities
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
from tests.support.activity_support import Message, age, claim, finish, log_of


def over(client: ax.Client, count: int) -> list[UUID]:
    requests = [ax.TaskRequest(task_name="talk", context=Message(), metadata={"n": n}) for n in range(count)]
    tasks = client.enqueue_many_sync(requests)
    for task, token in claim(client, want=count):
        finish(client, task, token)
    return [task.agent_id for task in tasks]


def count(engine: Engine, what: object) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(what)).scalar_one())  # type: ignore[arg-type]  # a table or a model


@pytest.mark.parametrize("size", [1, 3, 7, 8, 1000])
def test_old_activities_leave_in_batches_with_their_logs(client: ax.Client, size: int) -> None:
    old, young = over(client, 7), over(client, 2)
    age(client.engine, timedelta(days=31), *old)
    assert cleanup_old_activities(client.engine, batch_size=size) == 7
    with Session(client.engine) as session:
        assert {a.id for a in session.query(Activity)} == set(young)
    assert count(client.engine, ActivityLog) == 3 * 2


def test_activities_of_one_moment_are_not_skipped_at_the_border_of_a_batch(client: ax.Client) -> None:
    old = over(client, 10)
    age(client.engine, timedelta(days=31), *old)  # one and the same time for all of them
    assert cleanup_old_activities(client.engine, batch_size=4) == 10


def test_what_is_pending_stays_however_old_it_is(client: ax.Client) -> None:
    client.enqueue_sync("talk", Message())
    client.enqueue_sync("talk", Message())
    claim(client)
    age(client.engine, timedelta(days=400))
    assert cleanup_old_activities(client.engine, days=0) == 0
    assert count(client.engine, Activity) == 2


def test_the_archive_has_every_column_and_every_entry(client: ax.Client) -> None:
    [task, _] = over(client, 2)
    age(client.engine, timedelta(days=31), task)
    log = log_of(client.engine, task)
    with client.engine.connect() as connection:
        columns = Activity.__table__.columns
        before = connection.execute(select(*columns).where(Activity.id == task)).one()._asdict()
    assert cleanup_old_activities(client.engine, archive=True) == 1
    with client.engine.connect() as connection:
        after = connection.execute(select(ACTIVITY_ARCHIVE)).one()._asdict()
        logs = connection.execute(select(LOG_ARCHIVE).order_by(LOG_ARCHIVE.c.fence, LOG_ARCHIVE.c.n)).all()
    assert after.pop("archived_at") is not None
    assert after == before
    assert [(row.fence, row.n, str(row.status), row.message) for row in logs] == log
    assert count(client.engine, Activity) == 1


@pytest.mark.parametrize(
    "bounds",
    [
        {"days": 10},
        {"older_than": timedelta(days=10)},
        {"older_than": datetime.now(UTC) - timedelta(days=10)},
    ],
)
def test_the_age_can_be_given_in_three_ways(client: ax.Client, bounds: dict[str, object]) -> None:
    eleven, nine = over(client, 1), over(client, 1)
    age(client.engine, timedelta(days=11), *eleven)
    age(client.engine, timedelta(days=9), *nine)
    assert cleanup_old_activities(client.engine, **bounds) == 1  # type: ignore[arg-type]  # one of the three
    with Session(client.engine) as session:
        assert [a.id for a in session.query(Activity)] == nine


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 10_001}, "batch_size"),
        ({"days": -1}, "negative"),
        ({"older_than": datetime(2020, 1, 1)}, "time zone"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_deleted(
    client: ax.Client, wrong: dict[str, object], said: str
) -> None:
    over(client, 1)
    age(client.engine, timedelta(days=400))
    with pytest.raises(ValueError, match=said):
        cleanup_old_activities(client.engine, **wrong)  # type: ignore[arg-type]  # the mistake itself
    assert count(client.engine, Activity) == 1


def test_a_session_is_committed_batch_by_batch(client: ax.Client) -> None:
    age(client.engine, timedelta(days=31), *over(client, 5))
    with Session(client.engine) as session:
        assert cleanup_old_activities(session, batch_size=2) == 5
    assert count(client.engine, Activity) == 0


def test_a_session_inside_a_transaction_is_refused(client: ax.Client) -> None:
    with Session(client.engine) as session:
        session.query(Activity).count()
        with pytest.raises(ax.AgentexecError, match="commit it first"):
            cleanup_old_activities(session)
