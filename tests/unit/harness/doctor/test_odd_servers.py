"""Servers that hang, and URLs in forms that few people write: a clear answer in time, and no secret in it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import pytest
from psycopg.conninfo import conninfo_to_dict

from agentexec.config import normalised_database_url
from harness.doctor import installation, redis_reader
from harness.doctor.area import Area
from harness.doctor.check import CheckFinding, DoctorCheck, Grade, skipped, warned
from harness.doctor.examination import DoctorReport, examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.postgres_reader import conninfo
from harness.doctor.redis_reader import RedisReader
from harness.doctor.registry import CHECKS
from harness.doctor.unanswered import NoAnswer
from harness.environments.ports import LOOPBACK

OF_SERVERS = tuple(one for one in CHECKS if one.area in (Area.POSTGRES, Area.REDIS, Area.TASKS))
SECRET = "hunter2"


class FakeRedis:
    """Answers each command by its first word, and is silent to any other."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers = answers
        self.closing = Event()
        fake = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                while (count := self.rfile.readline()) and count.startswith(b"*"):
                    words = [self.word() for _ in range(int(count[1:]))]
                    if words[0] not in fake.answers:
                        fake.closing.wait()
                        return
                    self.wfile.write(fake.answers[words[0]])

            def word(self) -> bytes:
                return self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2]

        self.server = ThreadingTCPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, and limits that a busy machine does not reach; each test shortens the one that it is about."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(installation, "BUDGET_SECONDS", 60.0)
    monkeypatch.setattr(installation, "CONNECTED_SECONDS", 30.0)
    monkeypatch.setattr(redis_reader, "CONNECT_SECONDS", 30.0)


def fake(stack: ExitStack, **answers: bytes) -> FakeRedis:
    server = FakeRedis({name.encode(): answer for name, answer in answers.items()})
    stack.callback(server.close)
    return server


def silent_port(stack: ExitStack) -> int:
    """A port that accepts connections and never answers."""
    return int(stack.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1])


def examined(
    database_url: str | None = None,
    redis_url: str | None = None,
    checks: tuple[DoctorCheck, ...] = OF_SERVERS,
) -> tuple[DoctorReport, dict[str, CheckFinding]]:
    options = DoctorOptions(database_url=database_url, redis_url=redis_url, environment={})
    with Installation(options) as site:
        report = examine(site, (), today=date(2026, 5, 1), checks=checks)
    return report, {one.check.id: one.finding for one in report.results}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:p%40s%2Fs%25@h:5433/db",
            {"user": "u", "password": "p@s/s%", "host": "h", "port": "5433", "dbname": "db"},
        ),
        ("postgres://u@[::1]:5432/db", {"user": "u", "host": "::1", "port": "5432", "dbname": "db"}),
        ("postgresql+asyncpg://h/db?ssl=require", {"host": "h", "dbname": "db", "sslmode": "require"}),
        ("postgresql:///db?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "db"}),
        (
            "postgresql://u:p@/db?host=h1:5432&host=h2:5433&target_session_attrs=read-write",
            {
                "user": "u",
                "password": "p",
                "dbname": "db",
                "host": "h1,h2",
                "port": "5432,5433",
                "target_session_attrs": "read-write",
            },
        ),
        (
            "postgresql://h/db?sslmode=verify-full&sslrootcert=/a%20b.pem",
            {"host": "h", "dbname": "db", "sslmode": "verify-full", "sslrootcert": "/a b.pem"},
        ),
        ("postgresql:///?service=production", {"service": "production"}),
    ],
)
def test_libpq_gets_what_the_engines_of_agentexec_get(url: str, expected: dict[str, str]) -> None:
    assert conninfo_to_dict(conninfo(normalised_database_url(url))) == expected


def test_servers_that_never_answer_are_no_answer_in_time_and_all_else_is_skipped(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "CONNECTED_SECONDS", 0.3)
    ports = [silent_port(stack) for _ in range(3)]
    several = "&".join(f"host={LOOPBACK}:{port}" for port in ports)
    sentinels = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    report, findings = examined(
        f"postgresql://u:{SECRET}@/db?{several}", f"redis+sentinel://:{SECRET}@{sentinels}/mymaster/0"
    )
    assert (report.exit_code, sorted(report.silent)) == (2, ["postgres.answers", "redis.answers"])
    assert findings["postgres.answers"].seen == "no connection within 0.3 s"
    assert findings["redis.answers"].seen == "no connection within 0.3 s"
    others = {name: one.grade for name, one in findings.items() if not name.endswith(".answers")}
    assert set(others.values()) == {Grade.SKIP}


def test_the_first_sentinel_that_answers_names_the_primary_while_others_hang(stack: ExitStack) -> None:
    primary = fake(stack, PING=b"+PONG\r\n")
    answer = f"*2\r\n$9\r\n{LOOPBACK}\r\n${len(str(primary.port))}\r\n{primary.port}\r\n"
    sentinel = fake(stack, SENTINEL=answer.encode())
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in (silent_port(stack), sentinel.port, silent_port(stack)))
    reader = RedisReader(f"redis+sentinel://{hosts}/mymaster/0")
    stack.callback(reader.close)
    assert reader.url.partition("?")[0] == f"redis://{LOOPBACK}:{primary.port}/0"


def test_after_a_time_out_no_late_answer_is_taken_for_another_one(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_reader, "CONNECT_SECONDS", 1.0)
    server = fake(stack, PING=b"+PONG\r\n", INFO=b"", TIME=b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n")
    reader = RedisReader(f"redis://{LOOPBACK}:{server.port}")
    stack.callback(reader.close)
    with pytest.raises(NoAnswer, match="Timeout"):
        reader.call("INFO", "server")
    with pytest.raises(NoAnswer, match="Timeout"):
        reader.call("TIME")


def test_a_server_that_goes_silent_in_the_middle_is_no_healthy_one(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_reader, "CONNECT_SECONDS", 1.0)
    server = fake(stack, PING=b"+PONG\r\n", INFO=b"-NOPERM no\r\n")
    report, findings = examined(redis_url=f"redis://{LOOPBACK}:{server.port}")
    assert findings["redis.answers"].seen == "connected, which may not send INFO"
    assert findings["redis.version"] == skipped("the server refuses INFO (NOPERM no)")
    assert findings["redis.clock"] == skipped("redis does not answer")
    assert "redis.answers" in report.silent


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://:{SECRET}@{LOOPBACK}:6379", "cannot be used; it looks like redis://"),
        (f"valkey://:{SECRET}@{LOOPBACK}", "cannot be used; it looks like redis://"),
        (f"redis://:{SECRET}@{LOOPBACK}:no/0", "cannot be used; it looks like redis://"),
        (f"redis://:{SECRET}@{LOOPBACK}/0?socket_timeout=1", "socket_timeout is not supported"),
        (f"rediss://:{SECRET}@{LOOPBACK}/0?ssl_ca_certs=/nowhere.pem", "there is no ssl_ca_certs"),
        (f"redis+sentinel://:{SECRET}@{LOOPBACK}/", "lacks the name of the master"),
        (f"redis://:pa/ss@{SECRET}@{LOOPBACK}:1/0", "REDIS_URL"),
    ],
)
def test_a_redis_url_that_agentexec_refuses_is_no_answer_with_its_sentence(url: str, says: str) -> None:
    assert says in sentence("redis.answers", redis_url=url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://u:{SECRET}@h/db", "does not support"),
        (f"postgresql://u:{SECRET}@h1:5432,h2:5433/db", "is not a URL"),
        (f"host=h password={SECRET}", "is not a URL"),
        (f"postgresql://u:{SECRET}@{LOOPBACK}:1/db?pgbouncer=true", "has the option pgbouncer"),
        (f"postgresql://u:{SECRET}@{LOOPBACK}:1/db?sslmode=sometimes", "sslmode"),
        (f"postgresql://u:{SECRET}%zz@{LOOPBACK}:1/db", "Connection refused"),
        (f"postgresql://u:x@{SECRET}@{LOOPBACK}:1/db", "the host has an @"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_no_answer_with_a_sentence(url: str, says: str) -> None:
    assert says in sentence("postgres.answers", database_url=url)


def sentence(check: str, *, database_url: str | None = None, redis_url: str | None = None) -> str:
    """What a check says of a server that does not answer; no finding has the password."""
    report, findings = examined(database_url, redis_url)
    assert check in report.silent
    assert not [one for one in findings.values() if SECRET in one.seen]
    return findings[check].seen


def test_a_connection_that_is_made_after_the_run_is_closed(stack: ExitStack) -> None:
    server = fake(stack, PING=b"+PONG\r\n")
    asked, closed = Event(), Event()

    class LateReader(RedisReader):
        def __init__(self, url: str) -> None:
            asked.wait()
            super().__init__(url)

        def close(self) -> None:
            super().close()
            closed.set()

    connection = installation.ServerConnection(
        "redis", lambda: LateReader(f"redis://{LOOPBACK}:{server.port}")
    )
    connection.begin()
    connection.close()
    assert not closed.is_set()
    asked.set()
    assert closed.wait(20)


def test_a_check_that_breaks_off_warns_and_costs_no_other_one() -> None:
    def broken(_: Installation) -> CheckFinding:
        raise KeyError(SECRET)

    odd = DoctorCheck(id="redis.odd", area=Area.SETTINGS, asks="?", why=".", remedy=".", probe=broken)
    right = [one for one in CHECKS if one.id == "settings.lease"]
    report, findings = examined(checks=(odd, *right))
    assert findings["redis.odd"] == warned("the check broke off (KeyError)", "Report this bug of the doctor.")
    assert (findings["settings.lease"].grade, report.exit_code) == (Grade.PASS, 0)
