"""The tasks of others, as a session that only reads them reports them: what is late is stuck, what is gone is lost."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.activity import Activity
from agentexec.core.db import create_schema
from harness import cli
from harness.checkers import delivery, transitions
from harness.checkers.base import Verdict
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import TargetFailed
from harness.history import History, Recorder
from harness.targets.applications.agentexec_observed import ObservedAgentexec
from harness.targets.applications.agentexec_watched_task import Watched
from harness.targets.base import TargetSettings, TaskSpec
from harness.workloads.observed_tasks import ObservedTasks

pytestmark = pytest.mark.integration


def settings(folder: Path) -> TargetSettings:
    return TargetSettings(queue=f"observed-{uuid4().hex[:8]}", folder=folder, history=folder, gate_address="")


def test_tasks_of_others_are_stuck_or_lost_and_none_is_changed(
    servers: EmbeddedEnvironment, tmp_path: Path
) -> None:
    urls, given = servers.endpoints, settings(tmp_path)
    with (
        ax.Client(database_url=urls.database_url, redis_url=urls.redis_url, queue_name=given.queue) as client,
        closing(ObservedAgentexec(urls, given)) as session,
        closing(Recorder(tmp_path / "client.jsonl", process="client")) as recorder,
    ):
        create_schema(client.engine)
        client.enqueue_sync("early", Watched())
        session.prepare()
        gone, stuck = (client.enqueue_sync("later", Watched()).agent_id for _ in range(2))
        observing = ObservedTasks().client(session, recorder)
        for _ in range(2):
            observing.submit([TaskSpec(number=1)])
        assert (observing.unfinished(), session.arrived()) == (2, [])
        with client.engine.begin() as connection:
            connection.execute(delete(Activity).where(Activity.id == gone))
        for operation in session.witnesses():
            recorder.append(operation)
        with pytest.raises(SQLAlchemyError, match="read-only transaction"), session.engine.begin() as reading:
            reading.execute(delete(Activity).where(Activity.id == stuck))
        with pytest.raises(TargetFailed, match="read-only"):
            session.submit([TaskSpec(number=1)])
        client.queue.drop()
    history = History.load(tmp_path)
    found = delivery(allow_errors=True)(history)
    assert (found.verdict, found.figures["lost"], found.figures["stuck"]) == (Verdict.INVALID, 1, 1)
    assert transitions()(history).figures["illegal"] == 1, "it has not ended"


def test_tables_that_the_role_cannot_read_are_named(servers: EmbeddedEnvironment, tmp_path: Path) -> None:
    urls = servers.endpoints
    elsewhere = replace(urls, database_url=urls.database_url.replace("/postgres", "/template1"))
    with closing(ObservedAgentexec(elsewhere, settings(tmp_path))) as session:
        with pytest.raises(TargetFailed, match="GRANT SELECT on them"):
            session.prepare()


WATCHING = ["--backend", "external", "--watch", "--queue", "q", "--read-only"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--read-only"], "give --backend external --watch --queue NAME with them"),
        ([*WATCHING, "--workload", "numbered-tasks"], "no --workload"),
        ([*WATCHING, "--target", "rq"], "not those of rq"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["chaos", "run", "watch", *words]) == 64
    assert why in capsys.readouterr().err
