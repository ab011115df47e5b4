"""Commands of an operator over SQLite; most tests have no Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

import agentexec as ax
from agentexec import activity
from agentexec.cli import activities, dead_letters, main, parsing
from agentexec.core.db import engine_for
from tests.support.activity_pool import environment
from tests.support.activity_support import Message, age, as_default, claim, fake_client, finish
from tests.unit.agentexec.producer.test_dead_letters import bury

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with servers that only exist in this test; returns exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'record.db'}")
    monkeypatch.setenv("REDIS_URL", "redis://:hidden@127.0.0.1:1/0")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ax.Client:
    """A client over the same record, with a fake Redis, that every command uses."""
    client = fake_client(tmp_path, "cli")
    for module in (activities, dead_letters):
        monkeypatch.setattr(module, "Client", lambda: as_default(fake_of(client)))
    return client


def fake_of(client: ax.Client) -> ax.Client:
    """Another client of the same servers, since a command closes its own."""
    other = ax.Client(settings=client.settings)
    other.redis, other.queue = client.redis, client.queue
    other._enqueuer._queue = client.queue
    return other


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("db",),
        ("activities", "show", "not-an-id"),
        ("activities", "list", "--status", "asleep"),
        ("activities", "list", "--page", "0"),
        ("activities", "list", "--page-size", "1001"),
        ("cancel",),
        ("cleanup", "--days", "-1"),
        ("cleanup", "--days", "many"),
        ("cleanup", "--batch", "0"),
        ("dlq", "requeue"),
        ("dlq", "purge", "--all", "one"),
    ],
)
def test_wrong_usage_is_one_sentence_and_64(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (64, "")
    assert err.startswith("agentexec: ")
    assert err.count("\n") == 1


def test_tables_are_made_checked_and_found_different(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("db", "check")
    assert code == 1
    assert "table agentexec_activity is missing" in out
    assert run("db", "upgrade")[:2] == (0, "Applied 0001, 0002, 0003.\n")
    assert run("db", "upgrade")[:2] == (0, "Nothing to do: the tables are at revision 0003.\n")
    assert run("db", "check")[:2] == (0, "The tables are as the models say.\n")
    assert run("db", "create")[0] == 0
    engine = engine_for(f"sqlite:///{tmp_path / 'record.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_agentexec_activity_log_status")
    engine.dispose()
    code, out, err = run("db", "check")
    assert (code, out) == (1, "index ix_agentexec_activity_log_status of agentexec_activity_log is missing\n")
    assert err == "agentexec: 1 difference(s); `agentexec db upgrade` applies what is missing.\n"


def test_missing_tables_and_servers_are_one_sentence_with_the_remedy(run: Run) -> None:
    code, _, err = run("activities", "list")
    assert code == 69
    assert err == "agentexec: The tables of agentexec are not there; make them with `agentexec db upgrade`.\n"
    code, _, err = run("dlq", "list")
    assert code == 69
    assert err.startswith("agentexec: Redis does not do as asked (")
    assert "hidden" not in err
    assert err.count("\n") == 1


def test_a_missing_database_is_a_wrong_configuration(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    code, _, err = run("db", "check")
    assert code == 78
    assert "DATABASE_URL" in err


def test_activities_are_listed_and_shown(run: Run, client: ax.Client) -> None:
    done, waiting = (client.enqueue_sync("talk", Message()).agent_id for _ in range(2))
    [(_, token)] = claim(client)
    finish(client, done, token)
    code, out, _ = run("activities", "list")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1:-1]] == [str(waiting), str(done)]
    assert lines[-1] == "Page 1 of 1, 2 in all."
    code, out, _ = run("activities", "list", "--status", "complete", "--json")
    assert [item["agent_id"] for item in json.loads(out)["items"]] == [str(done)]
    code, out, _ = run("activities", "show", str(done))
    assert code == 0
    assert "Task started." in out
    assert json.loads(run("activities", "show", str(done), "--json")[1])["status"] == "complete"
    code, out, err = run("activities", "show", str(uuid4()))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("cancel",), ("activities", "cancel")])
def test_a_task_is_canceled(run: Run, client: ax.Client, command: tuple[str, ...]) -> None:
    running, waiting = (client.enqueue_sync("talk", Message()).agent_id for _ in range(2))
    claim(client)
    assert run(*command, str(waiting))[:2] == (0, "Canceled.\n")
    assert run(*command, str(running))[:2] == (0, "It is running; its handler is asked to stop.\n")
    code, _, err = run(*command, str(waiting))
    assert (code, err) == (1, f"agentexec: Activity {waiting} is over already: canceled.\n")
    assert run(*command, str(uuid4()))[0] == 1


def test_old_activities_are_deleted_or_archived(run: Run, client: ax.Client) -> None:
    for command, said in ((("cleanup",), "Deleted"), (("cleanup", "--archive", "--batch", "2"), "Archived")):
        tasks = [client.enqueue_sync("talk", Message()).agent_id for _ in range(3)]
        for task, token in claim(client, want=3):
            finish(client, task, token)
        age(client.engine, timedelta(days=8), *tasks)
        assert run(*command)[1] == f"{said} 0 activities older than 30 days.\n"
        assert run(*command, "--days", "7")[:2] == (0, f"{said} 3 activities older than 7 days.\n")


def test_dead_letters_are_listed_shown_requeued_and_purged(run: Run, client: ax.Client) -> None:
    first, second = bury(client, "one"), bury(client, "two", reason="it broke\nin two lines")
    code, out, _ = run("dlq", "list")
    assert code == 0
    assert "it broke in two lines" in out
    assert out.splitlines()[-1] == "2 of 2."
    assert [json.loads(line)["task"] for line in run("dlq", "list", "--json")[1].splitlines()] == ["talk"] * 2
    assert json.loads(run("dlq", "show", str(first))[1])["context"] == {"text": "one"}
    assert run("dlq", "show", str(uuid4()))[0] == 1
    code, out, err = run("dlq", "requeue", str(first), str(uuid4()))
    assert code == 1
    assert out.startswith(f"{first} runs again as ")
    assert "no dead letter" in err
    assert run("dlq", "purge", str(second))[:2] == (0, "Purged 1 dead letter(s).\n")
    assert run("dlq", "purge", str(second))[0] == 1
    claim(client)  # the first one, which runs again
    again = [bury(client) for _ in range(2)]
    assert run("dlq", "requeue", "--all")[1].count("runs again") == len(again)
    assert run("dlq", "purge", "--all")[:2] == (0, "Purged 0 dead letter(s).\n")


def test_settings_are_shown_without_their_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:p@ss:word@db/x?sslmode=require&sslpassword=also")
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://:hidden@s1:26379,s2:26379/mymaster/0")
    monkeypatch.setenv("AGENTEXEC_NUM_WORKERS", "7")
    code, out, _ = run("config")
    assert code == 0
    assert "AGENTEXEC_NUM_WORKERS=7\n" in out
    assert "AGENTEXEC_DATABASE_URL=postgresql://app:***@db/x?sslmode=require&sslpassword=***\n" in out
    assert "AGENTEXEC_REDIS_URL=redis+sentinel://:***@s1:26379,s2:26379/mymaster/0\n" in out
    assert json.loads(run("config", "--json")[1])["AGENTEXEC_TABLE_PREFIX"] == "agentexec_"


@pytest.mark.parametrize("address", ["host=db user=app password=hunter22", "app:hunter22@db/x"])
def test_an_address_that_is_no_url_is_not_shown(
    address: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    monkeypatch.setenv("REDIS_URL", address)
    assert run("config")[1].count("_URL=***\n") == 2


def test_every_setting_is_shown_under_a_variable_that_sets_it(run: Run) -> None:
    shown = json.loads(run("config", "--json")[1])
    assert len(shown) == len(ax.Settings.model_fields)
    assert all(name.startswith("AGENTEXEC_") for name in shown)


def test_a_table_shows_untrusted_text_on_one_line() -> None:
    text = parsing.table(("A",), [("line\n\x1b[31mred",), ("x" * 500,)])
    assert [len(line) <= parsing.LONGEST for line in text.splitlines()] == [True] * 3
    assert "\x1b" not in text


def test_an_activity_kept_by_hand_is_canceled_too(run: Run, client: ax.Client) -> None:
    with as_default(fake_of(client)):
        task = activity.create("import")
        activity.update(task, "On it")
    assert run("cancel", str(task))[:2] == (0, "Canceled.\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "agentexec", "config"]
    variables = environment("sqlite://", "redis://localhost", "none")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("dlq", "list", "--limit"),
        ("activities", "list", "--page"),
        ("activities", "list", "--page-size"),
        ("cleanup", "--batch"),
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "99999999999999999999", "1.5", "many", ""])
def test_a_number_outside_of_its_range_is_refused_in_one_sentence(
    run: Run, arguments: tuple[str, ...], value: str
) -> None:
    code, said, complaint = run(*arguments, value)
    assert (code, said, complaint.count("\n")) == (64, "", 1)
    assert arguments[-1] in complaint
