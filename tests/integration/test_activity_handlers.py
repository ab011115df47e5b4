"""What `ax.activity.update`, `error` and `complete` mean inside a handler, in a real pool on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity
from agentexec.queue.dead_letters import DeadLetters
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.activity_pool import environment, running_pool, wait_until_over
from tests.support.activity_support import log_of
from tests.support.activity_tasks import Number, Verdict
from tests.support.production import Site
from tests.support.record import LEGAL_MOVES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client(servers: EmbeddedEnvironment) -> Iterator[ax.Client]:
    with Site.on(servers.endpoints).client() as client:
        yield client


@pytest.fixture(scope="module")
def ended(client: ax.Client, forks: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Activity]:
    """One task of each kind, run by one pool; detached rows with their logs."""
    ways = ["error then return", "error then raise", "complete", "error of another", "nothing"]
    tasks = {how: client.enqueue_sync("decide", Verdict(how=how)) for how in ways}
    tasks |= {
        f"sync {how}": client.enqueue_sync("decide_sync", Verdict(how=how)) for how in ("error", "nothing")
    }
    tasks |= {"count": client.enqueue_sync("count", Number(number=3))}
    variables = environment(
        client.settings.database_url or "", client.settings.redis_url or "", client.queue.name
    )
    folder = tmp_path_factory.mktemp("pool")
    with running_pool("tests.support.activity_tasks:pool", folder, variables, forks):
        wait_until_over(client.engine, client.queue.name)
    with Session(client.engine, expire_on_commit=False) as session:
        return {how: session.query(Activity).filter_by(id=task.agent_id).one() for how, task in tasks.items()}


@pytest.mark.parametrize("how", ["error then return", "error then raise", "sync error"])
def test_error_ends_the_task_with_that_message_and_without_a_retry(
    client: ax.Client, ended: dict[str, Activity], how: str
) -> None:
    found = ended[how]
    assert (found.status, found.error, found.attempt, found.result) == ("error", "It is over", 1, None)
    assert log_of(client.engine, found.id)[-1][2:] == ("error", "It is over")


def test_an_error_that_a_handler_declares_is_a_dead_letter(
    client: ax.Client, ended: dict[str, Activity]
) -> None:
    reasons = {letter.task_id: letter.reason for letter in DeadLetters(client.queue).all()}
    assert reasons == {
        str(ended[how].id): "It is over" for how in ("error then return", "error then raise", "sync error")
    }


def test_complete_words_the_last_entry_and_the_return_ends_the_task(
    client: ax.Client, ended: dict[str, Activity]
) -> None:
    found = ended["complete"]
    assert (found.status, found.result) == ("complete", {"number": 7})
    assert log_of(client.engine, found.id)[-1][2:] == ("complete", "All is said")


def test_progress_is_in_the_log_under_the_holders_token(
    client: ax.Client, ended: dict[str, Activity]
) -> None:
    for how, message in (("count", "counting 3"), ("sync nothing", "from a thread")):
        found = ended[how]
        assert log_of(client.engine, found.id)[2] == (found.fence, 1, "running", message)


def test_the_error_of_another_activity_is_not_ones_own(client: ax.Client, ended: dict[str, Activity]) -> None:
    assert ended["error of another"].status == "complete"
    with Session(client.engine) as session:
        page = activity.list(session, status="error", page_size=200)
    assert "Only the other one" in [item.latest_log_message for item in page.items]


def test_every_move_is_legal(client: ax.Client, ended: dict[str, Activity]) -> None:
    for found in ended.values():
        statuses = [status for _, _, status, _ in log_of(client.engine, found.id)]
        moves = {(a, b) for a, b in pairwise(statuses) if a != b}
        assert moves <= LEGAL_MOVES
        assert statuses[-1] == found.status
