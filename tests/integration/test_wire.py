"""The wire between real clients and real servers: what it counts, how it strikes, and how its links misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.urls import plain_url
from harness.wire import CLEAR, Blow, Conditions, Direction, Moment, Strike, Wire, WireClient

pytestmark = pytest.mark.integration

_SECONDS = 10.0


@pytest.fixture(scope="module")
def to_redis(servers: EmbeddedEnvironment) -> Iterator[Wire]:
    with closing(Wire(servers.endpoints.redis_url, protocol="redis")) as wire:
        yield wire


@pytest.fixture(scope="module")
def to_postgres(servers: EmbeddedEnvironment) -> Iterator[Wire]:
    with closing(Wire(plain_url(servers.endpoints.database_url), protocol="postgres")) as wire:
        yield wire


@pytest.fixture
def key() -> str:
    return f"wire-{uuid4().hex}"


@pytest.fixture
def table(servers: EmbeddedEnvironment) -> Iterator[str]:
    name = f"wire_{uuid4().hex[:8]}"
    with psycopg.connect(plain_url(servers.endpoints.database_url), autocommit=True) as direct:
        direct.execute(f"CREATE TABLE {name} (a int)".encode())
        yield name
        direct.execute(f"DROP TABLE {name}".encode())


def client(wire: Wire, protocol: int = 2, **options: float) -> redis.Redis:
    found: redis.Redis = redis.Redis.from_url(
        wire.url, protocol=protocol, retry=Retry(NoBackoff(), 0), **options
    )
    return found


def names(wire: Wire) -> list[str]:
    return [command.name for command in wire.watched()]


def count(servers: EmbeddedEnvironment, table: str) -> int:
    with psycopg.connect(plain_url(servers.endpoints.database_url)) as direct:
        row = direct.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("protocol", [2, 3])
def test_commands_of_redis_py(to_redis: Wire, key: str, protocol: int) -> None:
    with client(to_redis, protocol) as used:
        used.ping()
        to_redis.watch()
        with used.pipeline(transaction=True) as batch:
            assert batch.set(key, "x" * 100_000).get(key).hgetall(key + "h").execute()[0] is True
        script = used.register_script(f"return redis.call('GET', KEYS[1]) -- {key}")
        assert script(keys=[key]) == b"x" * 100_000
        with used.pipeline(transaction=False) as batch:
            assert len(batch.incr(key + "n").incr(key + "n").execute()) == 2
        used.delete(key, key + "n")
        kind = "wire-*"
        assert names(to_redis) == [
            *("MULTI", f"SET {kind}", f"GET {kind}", f"HGETALL {kind}h", "EXEC"),
            *(f"EVALSHA {script.sha[:8]}", "SCRIPT LOAD", f"EVALSHA {script.sha[:8]}"),
            *(f"INCRBY {kind}n", f"INCRBY {kind}n", f"DEL {kind}"),
        ]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_subscriber_gets_its_messages(to_redis: Wire, key: str, protocol: int) -> None:
    with client(to_redis, protocol) as used, used.pubsub() as channel:
        channel.subscribe(key)
        assert channel.get_message(timeout=_SECONDS)["type"] == "subscribe"
        used.publish(key, "hello")
        assert channel.get_message(timeout=_SECONDS)["data"] == b"hello"


def test_statements_of_psycopg(to_postgres: Wire, servers: EmbeddedEnvironment, table: str) -> None:
    with psycopg.connect(to_postgres.url, autocommit=True) as used:
        to_postgres.watch()
        used.execute(f"INSERT INTO {table} VALUES (1); INSERT INTO {table} VALUES (2)".encode())
        used.execute(f"INSERT INTO {table} VALUES (%s)".encode(), [3], prepare=True)
        used.execute(f"INSERT INTO {table} VALUES (%s)".encode(), [4], prepare=True)
        with used.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for number in range(200):
                copy.write_row([number])
        with used.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT".encode()) as copy:
            assert len(list(copy.rows())) == 204
        with used.pipeline():
            used.execute(f"DELETE FROM {table} WHERE a = %s".encode(), [1])
            used.execute(f"SELECT a FROM {table} WHERE a = %s".encode(), [2])
        with pytest.raises(psycopg.errors.DivisionByZero):
            used.execute("SELECT 1 / %s", [0])
        with used.transaction():
            used.execute(f"UPDATE {table} SET a = 0".encode())
    insert = f"INSERT {table}"
    assert names(to_postgres) == [
        *(insert, insert, insert, f"COPY {table}", f"COPY {table}", f"DELETE {table}", f"SELECT {table}"),
        *("SELECT", "BEGIN", f"UPDATE {table}", "COMMIT"),
    ]
    assert count(servers, table) == 202


@pytest.mark.parametrize("blow", [Blow.CLOSE, Blow.RESET])
@pytest.mark.parametrize("moment", list(Moment))
def test_a_command_of_redis_is_struck(to_redis: Wire, key: str, blow: Blow, moment: Moment) -> None:
    with client(to_redis) as used, client(to_redis) as other:
        assert used.incr(key) == 1
        armed = to_redis.arm(Strike(blow=blow, moment=moment, name="INCRBY wire-*", number=2))
        assert used.incr(key) == 2
        with pytest.raises(redis.ConnectionError):
            used.incr(key)
        command = armed.wait(_SECONDS)
        assert command is not None
        assert command.name == "INCRBY wire-*"
        assert other.get(key) == (b"3" if moment is Moment.AFTER else b"2")


@pytest.mark.parametrize("moment", list(Moment))
def test_a_command_in_the_middle_of_a_transaction_is_struck(to_redis: Wire, key: str, moment: Moment) -> None:
    with client(to_redis) as used:
        used.ping()
        armed = to_redis.arm(Strike(blow=Blow.CLOSE, moment=moment, name="EXEC"))
        with used.pipeline(transaction=True) as batch, pytest.raises(redis.ConnectionError):
            batch.set(key, 1).incr(key).execute()
        assert armed.wait(_SECONDS)
        assert used.get(key) == (b"2" if moment is Moment.AFTER else None)


def insert_one(used: psycopg.Connection, table: str, mode: str) -> None:
    """Insert one row, in one of four ways."""
    statement = f"INSERT INTO {table} VALUES (%s)".encode()
    if mode == "copy":
        with used.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            copy.write_row([1])
    elif mode == "pipeline":
        with used.pipeline():
            used.execute(statement, [1])
    else:
        used.execute(statement, [1])
        used.commit()


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("mode", ["autocommit", "commit", "pipeline", "copy"])
def test_a_statement_is_struck(
    to_postgres: Wire, servers: EmbeddedEnvironment, table: str, mode: str, moment: Moment
) -> None:
    used = psycopg.connect(to_postgres.url, autocommit=mode != "commit")
    struck = {"commit": "COMMIT", "copy": f"COPY {table}"}.get(mode, f"INSERT {table}")
    armed = to_postgres.arm(Strike(blow=Blow.CLOSE, moment=moment, name=struck))
    with pytest.raises(psycopg.OperationalError):
        insert_one(used, table, mode)
    used.close()
    assert armed.wait(_SECONDS)
    assert count(servers, table) == (1 if moment is Moment.AFTER else 0)


def test_a_reply_is_late_and_one_is_withheld(to_redis: Wire, key: str) -> None:
    patient = client(to_redis, socket_timeout=_SECONDS)
    with client(to_redis) as used, patient as other, ThreadPoolExecutor(1) as thread:
        used.ping()
        late = 0.3
        to_redis.arm(Strike(blow=Blow.DELAY, moment=Moment.AFTER, seconds=late, name="INCRBY wire-*"))
        began = time.monotonic()
        assert used.incr(key) == 1
        assert time.monotonic() - began >= late
        armed = to_redis.arm(Strike(blow=Blow.HOLD, moment=Moment.AFTER, name="INCRBY wire-*"))
        held = thread.submit(other.incr, key)
        assert armed.wait(_SECONDS)
        assert used.get(key) == b"2"
        assert not held.done()
        armed.release()
        assert held.result(_SECONDS) == 2


def test_only_one_client_is_struck(to_redis: Wire, key: str) -> None:
    with client(to_redis) as victim, client(to_redis) as other:
        victim.client_setname("victim")
        armed = to_redis.arm(Strike(blow=Blow.CLOSE, of=lambda client: client.name == "victim"))
        assert other.incr(key) == 1
        with pytest.raises(redis.ConnectionError):
            victim.incr(key)
        command = armed.wait(_SECONDS)
        assert command is not None
        assert command.client.name == "victim"


def test_commands_are_counted_by_client_and_name(to_redis: Wire, key: str) -> None:
    with client(to_redis) as used:
        used.client_setname("counted")
        to_redis.count_kinds()
        for _ in range(3):
            used.incr(key)
    assert to_redis.kinds() == {("counted", "INCRBY wire-*"): 3}


def test_scripts_are_lost_until_a_client_loads_them(to_redis: Wire, key: str) -> None:
    with client(to_redis) as used, client(to_redis) as other:
        scripts = [used.register_script(f"return {number} -- {key}") for number in (1, 2)]
        assert [script() for script in scripts] == [1, 2]  # the server has them from now on
        calls = [f"EVALSHA {script.sha[:8]}" for script in scripts]
        to_redis.lose_scripts(lost=True)
        to_redis.watch()
        with pytest.raises(redis.exceptions.NoScriptError):
            used.evalsha(scripts[0].sha, 0)
        assert [script() for script in (*scripts, *scripts)] == [1, 2, 1, 2]
        assert names(to_redis) == [
            *(calls[0], calls[0], "SCRIPT LOAD", calls[0]),
            *(calls[1], "SCRIPT LOAD", calls[1], calls[0], calls[1]),
        ]
        to_redis.lose_scripts(lost=True)
        to_redis.lose_scripts(lost=False)
        assert other.evalsha(scripts[0].sha, 0) == 1


def test_a_slow_link(to_redis: Wire, key: str) -> None:
    with client(to_redis) as used, client(to_redis) as other:
        used.client_setname("slow")
        other.ping()

        def slow(client: WireClient) -> bool:
            return client.name == "slow"

        to_redis.put(Conditions(latency=0.05, jitter=0.02), Direction.TO_SERVER, of=slow)
        began = time.monotonic()
        other.set(key, "y")
        assert used.get(key) == b"y"
        assert time.monotonic() - began >= 0.05
        to_redis.put(Conditions(bandwidth=100_000, slice_bytes=1_000), Direction.TO_CLIENT, of=slow)
        other.set(key, "z" * 30_000)
        began = time.monotonic()
        assert used.get(key) == b"z" * 30_000
        assert time.monotonic() - began >= 0.3
        to_redis.put(CLEAR, of=slow)
        to_redis.clear()
        assert used.delete(key) == 1


def test_a_blocked_direction_delivers_after_it_is_healed(to_redis: Wire, key: str) -> None:
    deadline = time.monotonic() + _SECONDS
    patient = client(to_redis, socket_timeout=_SECONDS)
    with patient as used, client(to_redis) as other, ThreadPoolExecutor(1) as thread:
        used.client_setname("used")
        other.ping()
        to_redis.put(Conditions(blocked=True), Direction.TO_CLIENT, of=lambda client: client.name == "used")
        late = thread.submit(used.incr, key)
        while other.get(key) != b"1":  # the way to the server is open
            assert time.monotonic() < deadline
        assert not late.done()
        to_redis.clear()
        assert late.result(_SECONDS) == 1
        to_redis.put(Conditions(blocked=True), Direction.TO_SERVER, of=lambda client: client.name == "used")
        to_redis.watch()
        late = thread.submit(used.incr, key)
        while "INCRBY wire-*" not in names(to_redis):
            assert time.monotonic() < deadline
        assert other.get(key) == b"1"
        to_redis.clear()
        assert late.result(_SECONDS) == 2


def test_connections_end_in_every_way(to_redis: Wire) -> None:
    address = ("127.0.0.1", urlsplit(to_redis.url).port or 0)

    def open_one() -> socket.socket:
        one = socket.create_connection(address, _SECONDS)
        one.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert one.recv(100)
        return one

    with open_one() as one:
        to_redis.reset()
        with pytest.raises(ConnectionResetError):
            one.recv(100)
    with open_one() as one:
        to_redis.end()
        assert one.recv(100) == b""
    with open_one() as one:
        to_redis.open_half()
        one.sendall(b"*1\r\n$4\r\nPING\r\n")
        one.settimeout(0.1)
        with pytest.raises(TimeoutError):
            one.recv(100)
        to_redis.clear()
        one.settimeout(_SECONDS)
        assert one.recv(100) == b""
    with open_one() as one:
        to_redis.put(Conditions(slow_close=0.2), Direction.TO_CLIENT)
        began = time.monotonic()
        one.sendall(b"*1\r\n$4\r\nQUIT\r\n")
        while one.recv(100):
            pass
        assert time.monotonic() - began >= 0.2
        to_redis.clear()
    with open_one() as one:
        to_redis.cut()
        assert one.recv(100) == b""
        with pytest.raises(ConnectionResetError), socket.create_connection(address, _SECONDS) as refused:
            refused.recv(100)
        to_redis.clear()
    open_one().close()
    assert to_redis.commands > 0
