"""Secrets are masked in whatever form an exception or a log line has them, in linear time, and also where shown."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

import agentexec as ax
from agentexec import cli
from agentexec.cli import activities, dead_letters
from agentexec.masking import masked
from agentexec.ops import logs
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.text import MAX_MESSAGE, storable_text
from tests.support.activity_support import Message, claim

SECRET = "hunter2Hunter2"
# `~` is the secret.
WAYS = [
    "postgresql://user:~@host:5432/db",
    "redis://:~@host",
    "postgresql://host/db?user=u&password=~&sslmode=require",
    "https://host/path?api_key=~&page=2",
    "https://host/path?page=2&token=~",
    "GET https://host/path?access_token=~#top",
    "host=h password=~ user=u",
    "host=h password = '~ and more' user=u",
    "host=h password='it\\'s ~'",
    "Server=h;Password=~;User=u",
    "PGPASSWORD=~ psql",
    "MYSQL_PWD=~",
    "DB_PASSWORD: '~ more'",
    "passphrase: ~",
    "client_secret=~",
    "SECRET_KEY: ~",
    "aws_secret_access_key = ~",
    "AWS_ACCESS_KEY_ID=~",
    "private-key: ~",
    "apiKey: ~",
    "accessToken=~",
    "password => ~",
    "--password=~",
    "--api-key ~ --verbose",
    "['psql', '--password', '~']",
    '{"password": "~"}',
    "{'password': '~'}",
    "{'password': b'~'}",
    '{"body": "{\\"password\\": \\"~\\"}"}',
    'password="~ whose quote does not end',
    "Authorization: Bearer ~",
    "authorization: Basic ~==",
    "Authorization: ~",
    "{'Authorization': 'Basic ~'}",
    "[(b'authorization', b'Bearer ~')]",
    "('x-api-key', '~')",
    "X-API-Key: ~",
    "the key was: Bearer ~",
    "AKIA~",
    "Incorrect API key provided: sk-proj-~.",
    "sk-ant-api03-~",
    "sk_live_~",
    "xoxb-~",
    "ghp_~12345",
    "eyJhbGciOiJI.~.~",
    "-----BEGIN RSA PRIVATE KEY-----\n~\n~\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n~",
]
HARMLESS = [
    "max_tokens=4096, total_tokens: 812",
    "its token 77 is lost",
    "token=77",
    "fencing token: 1764177893123",
    "token: None",
    "task-abcdefghijklmnop failed",
    "the password was wrong",
    "primary_key: id",
    "monkey=5",
    "sqlite:///file.db",
    "user@host: no",
    "https://host/path?page=2",
    "KeyError: 'number'",
]
WORDS = st.text("abcxyz0189 :=\"'&?,;{}[]()/@-_.\n", max_size=30)


@pytest.mark.parametrize("way", WAYS)
@given(before=WORDS, after=WORDS)
def test_a_secret_is_masked_however_it_is_written(way: str, before: str, after: str) -> None:
    written = f"{before}\n {way.replace('~', SECRET)} \n{after}"
    shown = masked(written)
    assert SECRET.lower() not in shown.lower()
    assert "***" in shown


@pytest.mark.parametrize("plain", HARMLESS)
def test_what_is_no_secret_stays(plain: str) -> None:
    assert masked(plain) == plain


@pytest.mark.parametrize("way", WAYS)
def test_masked_text_is_not_changed_again_into_something_that_shows_more(way: str) -> None:
    once = masked(way.replace("~", SECRET))
    assert SECRET not in masked(once)


@pytest.mark.parametrize(
    "part",
    ["secret", "a-", "password='", "password=\"", "password='\\", "password=\\", "eyJ-", "sk-", "bearer ", "a://b:",
     "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "\\", "=", "a:", "authorization: a ", "authorization,", " ", "b'",
     "://@", "password ", "--password ", "token=", "a ", "\n"],
)  # fmt: skip
def test_the_time_is_linear(part: str) -> None:
    """A pattern that backtracks takes minutes for these."""
    long = part * (400_000 // len(part))
    start = time.perf_counter()
    masked(long + "@")
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("way", WAYS)
def test_the_record_keeps_no_secret(way: str) -> None:
    assert SECRET.lower() not in storable_text(f"ValueError: {way.replace('~', SECRET)}").lower()


def test_a_secret_at_the_cut_of_a_long_text_is_not_kept_in_part() -> None:
    long = "x" * (MAX_MESSAGE - 25) + " redis://user:hunter2@host/0"
    assert "hunter" not in storable_text(long)


def test_the_command_shows_no_secret_of_older_records(
    client: ax.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older versions recorded errors as they were."""
    task = client.enqueue_sync("talk", Message()).agent_id
    ((_, token),) = claim(client)
    reason = f"OSError: no answer from redis://:{SECRET}@h"
    with client.engine.begin() as connection:
        connection.execute(text("UPDATE agentexec_activity SET error = :e, status = 'error'"), {"e": reason})
        connection.execute(text("UPDATE agentexec_activity_log SET message = :e"), {"e": reason})
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason=reason)
    client.queue.step(StepRequest(worker="w", nonce=uuid4().hex, finishes=[end]))
    for module in (activities, dead_letters):
        monkeypatch.setattr(module, "Client", lambda: Kept(client))
    for command in ("activities list", f"activities show {task}", "dlq list", f"dlq show {task}"):
        for options in ([], ["--json"]) if "dlq show" not in command else ([],):
            assert cli.main([*command.split(), *options]) == 0
            shown = capsys.readouterr().out
            assert SECRET not in shown
            assert "OSError: no answer from redis://:***@h" in shown


class Kept:
    """A client that a command does not close."""

    def __init__(self, client: ax.Client) -> None:
        self.client = client

    def __enter__(self) -> ax.Client:
        return self.client

    def __exit__(self, *_: object) -> None: ...


def test_a_process_without_log_handlers_masks_its_warnings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "last"
    last = logging.FileHandler(path)
    monkeypatch.setattr(logging, "lastResort", last)
    root = logging.RootLogger(logging.WARNING)
    logs.set_up(None, root=root)
    logs.set_up(None, root=root)
    root.warning("lost %s", f"redis://:{SECRET}@h")
    last.close()
    assert path.read_text() == "lost redis://:***@h\n"
    assert len(last.filters) == 1


def test_json_lines_stay_json() -> None:
    formatter = logs.JSONFormatter()
    for way in WAYS:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, way.replace("~", SECRET), None, None)
        line = formatter.format(record)
        assert SECRET not in line
        json.loads(line)
