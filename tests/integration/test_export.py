"""The statements of the how-to export a real activity store, and `harness check --export` reads what they give."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentexec as ax
from agentexec.store import statements
from agentexec.store.rows import ActivityUpdate
from agentexec.store.status import Status
from harness import cli
from tests.support.exported import exported
from tests.support.record import new_activity, starts

pytestmark = pytest.mark.integration


def test_the_statements_of_the_how_to_give_what_check_reads(
    client: ax.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = client.queue.name
    ended, waiting = (new_activity(queue) for _ in range(2))
    done = ActivityUpdate(id=ended.id, token=7, n=1, status=Status.COMPLETE, message="Done.")
    with client.engine.begin() as connection:
        statements.record_enqueued(connection, [ended, waiting])
        statements.record_batch(connection, starts({ended.id: 7}), [])
        statements.record_batch(connection, [], [done])
    url = client.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    files = exported(url, queue, tmp_path)
    assert cli.main(["check", "--export", *map(str, files)]) == 0
    assert "6 steps of 2 activities, as the model of the protocol allows" in capsys.readouterr().out
