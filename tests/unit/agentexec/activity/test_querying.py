"""Pages and details of the record, and the models they come as."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Status, querying
from tests.support.activity_support import Message, claim, finish, progress


@pytest.fixture
def session(client: ax.Client) -> Iterator[Session]:
    with Session(client.engine) as session:
        yield session


def enqueue(client: ax.Client, count: int = 1, **metadata: object) -> list[UUID]:
    return [client.enqueue_sync("talk", Message(), metadata=metadata or None).agent_id for _ in range(count)]


def mixture(client: ax.Client) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """Two complete, two running, two queued, each oldest first."""
    enqueue(client, 6)
    claimed = claim(client, want=4)
    for task, token in claimed[:2]:
        finish(client, task, token)
    ids = [task for task, _ in claimed]
    with Session(client.engine) as session:
        queued = [i for (i,) in session.query(ax.activity.Activity.id).filter_by(status=Status.QUEUED)]
    return sorted(ids[:2]), sorted(ids[2:]), sorted(queued)


def test_pages_show_what_runs_then_what_waits_then_what_is_over(client: ax.Client, session: Session) -> None:
    complete, running, queued = mixture(client)
    expected = running[::-1] + queued[::-1] + complete[::-1]
    whole = activity.list(session)
    assert [item.agent_id for item in whole.items] == expected
    for size in range(1, 7):
        pages = [activity.list(session, page, size) for page in range(1, 8)]
        assert [item.agent_id for page in pages for item in page.items] == expected
        assert {(page.total, page.total_pages) for page in pages} == {(6, -(-6 // size))}


def test_a_total_is_counted_to_its_bound_and_always_past_the_page(
    client: ax.Client, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the pages reaches the last one, though no page counts a million rows."""
    monkeypatch.setattr(querying, "COUNTED", 3)
    tasks = enqueue(client, 10)
    pages = [activity.list(session, page, 2) for page in range(1, 7)]
    assert [(page.total, page.total_is_exact) for page in pages] == [
        (3, False),
        (5, False),
        (7, False),
        (9, False),
        (10, True),
        (10, True),
    ]
    assert [item.agent_id for page in pages for item in page.items] == sorted(tasks, reverse=True)


def test_a_page_can_be_of_some_statuses_only(client: ax.Client, session: Session) -> None:
    complete, running, _ = mixture(client)
    one = activity.list(session, status="complete")
    assert {item.agent_id for item in one.items} == set(complete)
    two = activity.list(session, status=[Status.COMPLETE, "running"])
    assert {item.agent_id for item in two.items} == {*complete, *running}
    with pytest.raises(ValueError, match="vanished"):
        activity.list(session, status="vanished")


@pytest.mark.parametrize(("page", "size"), [(0, 10), (1, 0), (1, 1001)])
def test_a_page_that_cannot_be_is_refused(session: Session, page: int, size: int) -> None:
    with pytest.raises(ValueError, match="page"):
        activity.list(session, page, size)


def test_an_item_shows_the_last_entry_by_fence_and_number(client: ax.Client, session: Session) -> None:
    [task] = enqueue(client)
    [(_, token)] = claim(client)
    for n in (1, 2, 10, 9):  # written out of order, as two flushes may be
        progress(client, task, token, n, f"entry {n}")
    [item] = activity.list(session).items
    assert (item.latest_log_message, item.status) == ("entry 10", Status.RUNNING)
    assert item.started_at is not None
    assert item.elapsed_time_seconds >= 0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"tenant": "a"}, 1),
        ({"tenant": "b"}, 0),
        ({"size": 3}, 1),
        ({"size": "3"}, 1),
        ({"paid": True}, 1),
        ({"paid": False}, 0),
        ({"nothing": None}, 2),
        ({"tenant": "a", "size": 4}, 0),
        ({"it's": 'a "quoted" one'}, 1),
    ],
)
def test_metadata_can_be_asked_for(
    client: ax.Client, session: Session, wanted: dict[str, object], found: int
) -> None:
    [task] = enqueue(client, 1, **{"tenant": "a", "size": 3, "paid": True, "it's": 'a "quoted" one'})
    enqueue(client)
    assert activity.list(session, metadata_filter=wanted).total == found
    if found == 1:
        assert activity.detail(session, task, wanted) is not None
    elif found == 0:
        assert activity.detail(session, task, wanted) is None


def test_a_detail_has_the_log_in_order_and_keeps_metadata_out_of_dumps(
    client: ax.Client, session: Session
) -> None:
    [task] = enqueue(client, tenant="a")
    [(_, token)] = claim(client)
    progress(client, task, token, 1, "On it")
    found = activity.detail(session, str(task))
    assert found is not None
    assert [entry.message for entry in found.logs] == ["Waiting to start.", "Task started.", "On it"]
    assert found.metadata == {"tenant": "a"}
    dump = found.model_dump(mode="json")
    assert "metadata" not in dump
    assert (dump["agent_id"], dump["agent_type"], dump["attempt"]) == (str(task), "talk", 1)
    assert len({entry["id"] for entry in dump["logs"]}) == 3
    again = activity.detail(session, task)
    assert again is not None
    assert [entry.id for entry in again.logs] == [entry.id for entry in found.logs]


def test_a_detail_shows_the_stored_row_and_not_the_cached_one(
    client: ax.Client,
) -> None:
    [task] = enqueue(client)
    with Session(client.engine, expire_on_commit=False) as session:
        remembered = session.query(ax.activity.Activity).filter_by(id=task).one()
        assert len(remembered.logs) == 1
        session.commit()
        claim(client)
        found = activity.detail(session, task)
        assert found is not None
        assert (found.status, len(found.logs)) == (Status.RUNNING, 2)


def test_nothing_is_found_for_an_unknown_id(session: Session) -> None:
    assert activity.detail(session, uuid4()) is None
    assert activity.detail(session) is None
    with pytest.raises(ValueError, match="UUID"):
        activity.detail(session, "no id")


def test_active_activities_are_counted(client: ax.Client, session: Session) -> None:
    mixture(client)
    assert activity.count_active(session) == 4
