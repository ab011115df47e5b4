"""Duties of an application on a real Postgres: backups that are restored or set back, clean-ups, migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import HarnessError
from harness.faults.backup import BackUp, RestoreBackup
from harness.faults.base import Aim, Fault, FaultContext, PlannedFault
from harness.history import Recorder
from harness.history.history import History
from harness.targets.agentexec_target import TARGET, AgentexecSession
from harness.targets.base import TargetSettings, TaskSpec

pytestmark = pytest.mark.integration

NONE: Any = None


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedEnvironment]:
    """Servers of this module, because a restoration sets back every table."""
    with EmbeddedEnvironment() as environment:
        yield environment


@pytest.fixture
def session(own_servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[AgentexecSession]:
    settings = TargetSettings(queue="hx-b", folder=tmp_path, history=tmp_path, gate_address="")
    with closing(TARGET.open(own_servers.endpoints, settings)) as opened:
        yield opened


def carry_out(
    fault: Fault, environment: EmbeddedEnvironment, session: AgentexecSession, folder: Path
) -> History:
    """Inject a fault without pools; what it recorded."""
    aim = Aim(pids=(), pool=NONE)
    planned = PlannedFault(number=3, fault=fault, gate="g", moment=0.0, draw=0.0)
    with closing(Recorder(folder / "witness.jsonl", process="witness")) as witness:
        context = FaultContext(
            gates=NONE, pools=NONE, environment=environment, session=session, witness=witness
        )
        fault.inject(context, planned, aim)
    return History.load(folder)


def databases(environment: EmbeddedEnvironment) -> set[str]:
    with psycopg.connect(environment.endpoints.database_url) as connection:
        return {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_the_record_is_set_back_to_a_backup_that_is_recorded(
    own_servers: EmbeddedEnvironment,
    session: AgentexecSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session.submit([TaskSpec(number=1), TaskSpec(number=2)])
    before = databases(own_servers)
    # What happens between the backup and the restoration.
    monkeypatch.setattr("harness.faults.backup.time.sleep", lambda _: session.submit([TaskSpec(number=3)]))
    history = carry_out(RestoreBackup(at=0.5), own_servers, session, tmp_path)
    held = sorted((op.value["of"], op.value["task"], op.value["fault"]) for op in history.where("copy"))
    assert held == [("record", 1, 3), ("record", 2, 3), ("transition", 1, 3), ("transition", 2, 3)]
    assert {op.value["task"] for op in session.stored() if op.f == "record"} == {1, 2}
    assert databases(own_servers) == before
    assert [path.name for path in own_servers.folder.glob("backup-*")] == []


def test_a_backup_whose_foreign_keys_are_broken_is_not_restored(
    own_servers: EmbeddedEnvironment, session: AgentexecSession, tmp_path: Path
) -> None:
    session.submit([TaskSpec(number=1)])
    before = databases(own_servers)
    with psycopg.connect(own_servers.endpoints.database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM agentexec_activity")
    with pytest.raises(HarnessError, match="psql failed with code"):
        carry_out(BackUp(at=0.5), own_servers, session, tmp_path)
    assert databases(own_servers) == before
    with psycopg.connect(own_servers.endpoints.database_url) as connection:
        connection.execute("TRUNCATE agentexec_activity_log")


def test_a_backup_that_takes_too_long_ends_with_one_sentence(
    own_servers: EmbeddedEnvironment,
    session: AgentexecSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.environments.local_postgres._TIMEOUT_SECONDS", 0.0)
    with pytest.raises(HarnessError, match=r"^pg_dump did not end within 0 s\. See the log of Postgres\.$"):
        carry_out(BackUp(at=0.5), own_servers, session, tmp_path)


def idle_transactions(servers: EmbeddedEnvironment) -> int:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    with psycopg.connect(servers.endpoints.database_url) as connection:
        [(found,)] = connection.execute(asked).fetchall()
    return int(found)


def test_archived_activities_are_evidence_and_are_removed_with_the_session(
    own_servers: EmbeddedEnvironment, tmp_path: Path
) -> None:
    settings = TargetSettings(queue="hx-a", folder=tmp_path, history=tmp_path, gate_address="")
    with closing(TARGET.open(own_servers.endpoints, settings)) as session:
        answers = session.submit([TaskSpec(number=1), TaskSpec(number=2)])
        assert session.clean_up(0.0) == 0, "a pending task stays"
        assert session.start_service() == 0, "a queued task is no orphan"
        assert answers[0].activity is not None
        session.cancel([answers[0].activity])
        reading = session.stored()
        first = next(reading)
        assert idle_transactions(own_servers) == 0, "the server ends one, and the reader may take long"
        assert session.clean_up(0.0) == 1
        while_moved = [(op.f, op.value["task"], op.value["status"]) for op in (first, *reading)]
        assert len(while_moved) == len(set(while_moved)), "a row that is moved meanwhile is read once"
        found = {
            (op.f, op.value["task"], op.value["status"]) for op in session.witnesses() if op.f != "queue"
        }
        assert {("record", 1, "canceled"), ("transition", 1, "canceled"), ("record", 2, "queued")} <= found
        assert session.unfinished() == 1
    with psycopg.connect(own_servers.endpoints.database_url) as connection:
        [(left,)] = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'agentexec_activity%'"
        ).fetchall()
    assert left == 0


def test_the_schema_goes_to_the_revision_before_the_newest_one_and_back(session: AgentexecSession) -> None:
    assert session.migrate(previous=False) == 0, "the tables of a run are the newest"
    assert (session.migrate(previous=True), session.migrate(previous=True)) == (1, 0)
    assert session.submit([TaskSpec(number=1)])[0].activity is not None
    assert (session.migrate(previous=False), session.migrate(previous=False)) == (1, 0)
