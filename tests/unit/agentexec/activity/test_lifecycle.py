"""The activity API outside of handlers: by hand, beside a worker, with and without await."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Status
from agentexec.context import CurrentTask, HandlerVerdict, current
from tests.support.activity_support import (
    Message,
    claim,
    finish,
    log_of,
    progress,
    status_of,
)
from tests.support.record import row_of


def enqueued(client: ax.Client) -> UUID:
    return client.enqueue_sync("talk", Message()).agent_id


# By hand


def test_an_activity_kept_by_hand_goes_its_legal_way_to_complete(client: ax.Client) -> None:
    task = activity.create("import", "Queued by a script", metadata={"tenant": "a"})
    assert activity.update(task, "Half of it", percentage=50)
    assert activity.complete(task, "All of it")
    assert log_of(client.engine, task) == [
        (0, 0, "queued", "Queued by a script"),
        (1, 0, "running", "Started."),
        (1, 1, "running", "Half of it"),
        (1, 2, "complete", "All of it"),
    ]
    assert status_of(client.engine, task) == "complete"


@pytest.mark.parametrize(
    ("verb", "status"),
    [(activity.complete, "complete"), (activity.error, "error"), (activity.cancel, "canceled")],
)
def test_an_activity_kept_by_hand_can_end_without_an_update(
    client: ax.Client, verb: object, status: str
) -> None:
    task = activity.create("import")
    assert verb(task, "The end")  # type: ignore[operator]  # one of the three above
    assert status_of(client.engine, task) == status


def test_what_is_over_stays_as_it_is(client: ax.Client) -> None:
    task = activity.create("import")
    activity.error(task, "Broken")
    before = log_of(client.engine, task)
    for answer in (
        activity.update(task, "late"),
        activity.complete(task),
        activity.error(task),
        activity.cancel(task),
    ):
        assert not answer
    assert log_of(client.engine, task) == before


def test_an_activity_kept_by_hand_never_reaches_a_queue(client: ax.Client) -> None:
    task = activity.create("talk")
    enqueued(client)
    assert [i for i, _ in claim(client, want=5)] != [task]
    with Session(client.engine) as session:
        assert session.query(ax.activity.Activity).filter_by(queue_name=client.queue.name).count() == 1


def test_an_id_that_is_taken_is_refused_and_its_activity_left_alone(client: ax.Client) -> None:
    task = activity.create("import", agent_id=str(uuid4()))
    with pytest.raises(ax.AgentexecError, match="already"):
        activity.create("other", agent_id=task)
    assert len(log_of(client.engine, task)) == 1


def test_a_terminal_status_of_update_ends_the_activity(client: ax.Client) -> None:
    ended = {}
    for status in (Status.COMPLETE, Status.ERROR, Status.CANCELED):
        task = activity.create("import")
        activity.update(task, "The end", status=status)
        ended[status] = status_of(client.engine, task)
    assert ended == {status: status.value for status in ended}


# Beside a worker


def test_a_note_from_outside_takes_no_number_of_the_holder(client: ax.Client) -> None:
    task = enqueued(client)
    [(_, token)] = claim(client)
    assert activity.update(task, "A note", percentage=5)
    progress(client, task, token, 1, "Its own progress")
    assert finish(client, task, token) is Status.COMPLETE
    assert log_of(client.engine, task) == [
        (0, 0, "queued", "Waiting to start."),
        (0, 1, "queued", "A note"),
        (token, 0, "running", "Task started."),
        (token, 1, "running", "Its own progress"),
        (token, 10, "complete", "Ended."),
    ]


def test_an_error_from_outside_outranks_the_holder_and_asks_it_to_stop(client: ax.Client) -> None:
    task = enqueued(client)
    [(_, token)] = claim(client)
    assert activity.error(task, "The customer is gone")
    assert finish(client, task, token) is None
    assert status_of(client.engine, task) == "error"
    assert log_of(client.engine, task)[-1] == (token + 1, 0, "error", "The customer is gone")
    _, canceled = client.queue.renew("w", {task: token})
    assert canceled == {task}


def test_an_error_from_outside_keeps_a_queued_task_from_starting(client: ax.Client) -> None:
    task = enqueued(client)
    activity.error(task, "Never mind")
    assert claim(client) == []
    assert status_of(client.engine, task) == "error"


def test_only_the_handler_can_complete_its_task(client: ax.Client) -> None:
    task = enqueued(client)
    [(_, token)] = claim(client)
    with pytest.raises(ax.AgentexecError, match="when its handler returns"):
        activity.complete(task)
    assert finish(client, task, token) is Status.COMPLETE


def test_cancel_ends_a_queued_task_and_asks_a_running_one_to_stop(client: ax.Client) -> None:
    running, queued = enqueued(client), enqueued(client)
    [(_, token)] = claim(client)
    assert activity.cancel(queued)
    assert activity.cancel(running)
    assert (status_of(client.engine, queued), status_of(client.engine, running)) == ("canceled", "running")
    assert client.queue.renew("w", {running: token})[1] == {running}


def test_an_unknown_activity_is_answered_with_false_and_a_warning(
    client: ax.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not activity.update(uuid4(), "Anybody there?")
    assert "no activity" in caplog.text


@pytest.mark.parametrize("verb", [activity.update, activity.complete, activity.error])
@pytest.mark.parametrize("percentage", [-1, 101, 100.5, float("nan"), float("inf")])
def test_a_percentage_outside_of_0_to_100_is_refused(
    client: ax.Client, verb: Callable[..., object], percentage: float
) -> None:
    task = activity.create("import")
    with pytest.raises(ValueError, match="between 0 and 100"):
        verb(task, "x", percentage=percentage)
    with pytest.raises(ValueError, match="between 0 and 100"):
        activity.update(task, "x", percentage, status=Status.CANCELED)
    assert len(log_of(client.engine, task)) == 1


@pytest.mark.parametrize(
    ("percentage", "recorded"), [(0, 0), (40, 40), (33.4, 33), (99.9, 99), (Decimal("7.5"), 7)]
)
def test_every_end_and_every_note_records_its_percentage(
    client: ax.Client, percentage: float, recorded: int
) -> None:
    ends: tuple[Callable[[UUID], object], ...] = (
        lambda task: activity.complete(task, "x", percentage),
        lambda task: activity.error(task, "x", percentage),
        lambda task: activity.update(task, "x", percentage),
        lambda task: activity.update(task, "x", percentage, status=Status.COMPLETE),
        lambda task: activity.update(task, "x", percentage, status=Status.ERROR),
        lambda task: activity.update(task, "x", percentage, status=Status.CANCELED),
    )
    for end in ends:
        task = activity.create("import")
        activity.update(task, "Half", percentage=0)
        end(task)
        assert row_of(client.engine, task).log[-1].percentage == recorded
    note = enqueued(client)
    activity.update(note, "From outside", percentage)
    assert row_of(client.engine, note).log[-1].percentage == recorded


def test_an_end_without_a_percentage_is_at_100(client: ax.Client) -> None:
    for status in (Status.COMPLETE, Status.ERROR):
        task = activity.create("import")
        activity.update(task, "x", status=status)
        assert row_of(client.engine, task).log[-1].percentage == 100


def test_text_that_a_database_cannot_store_is_made_storable(client: ax.Client) -> None:
    task = activity.create("import")
    activity.update(task, "a\x00b\ud800" + "x" * 20_000)
    message = log_of(client.engine, task)[-1][3]
    assert (message[:4], len(message)) == ("a\N{REPLACEMENT CHARACTER}b?", 10_000)


# Inside a handler, with the worker's part played by the test


def test_inside_its_handler_nothing_touches_the_database(client: ax.Client) -> None:
    task, reported, verdict = enqueued(client), [], HandlerVerdict()
    token = current.set(
        CurrentTask(
            agent_id=task,
            task_name="talk",
            attempt=1,
            fence=7,
            _report=lambda message, percentage: reported.append((message, percentage)),
            _verdict=verdict,
        )
    )
    try:
        activity.update(str(task), "On it", 10)
        activity.error(task, "No")
        activity.error(task, "Still no")
        activity.complete(task, "Yes")
        other = activity.create("import")
        activity.update(other, "Another one goes to the record")
    finally:
        current.reset(token)
    assert reported == [("On it", 10)]
    assert (verdict.failed, verdict.completed) == ("No", "Yes")
    assert len(log_of(client.engine, task)) == 1
    assert log_of(client.engine, other)[-1][3] == "Another one goes to the record"


# With await


def test_every_call_may_be_awaited_as_published(client: ax.Client) -> None:
    async def published() -> None:
        task = await activity.create("import", metadata={"organization": "org-1"})
        assert type(task) is UUID
        assert await activity.update(task, "On it", percentage=10) is True
        assert await activity.count_active() == 1
        page = await activity.list(metadata_filter={"organization": "org-1"})
        assert [item.agent_id for item in page.items] == [task]
        assert await activity.complete(task) is True
        assert await activity.error(task) is False
        found = await activity.detail(agent_id=str(task))
        assert found is not None
        assert found.status is Status.COMPLETE
        assert await activity.detail(agent_id=uuid4()) is None
        assert await activity.cancel_pending() == 0

    asyncio.run(published())


def test_an_answer_that_is_not_awaited_leaves_no_warning(client: ax.Client) -> None:
    async def guide() -> None:
        activity.error(activity.create("import"), "as the production guide calls it")

    asyncio.run(guide())  # warnings are errors here
