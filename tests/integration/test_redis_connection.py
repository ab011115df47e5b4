"""The harness's own connection to Redis, held to the client `redis` on real servers."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
import redis

from harness.environments import probe, redis_connection
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.ports import LOOPBACK
from harness.environments.redis_connection import RedisAddress, RedisConnection, RedisFailure, primary_url
from tests.support.redis_servers import PASSWORD, make_certificates
from tests.support.redis_servers import servers as servers_of
from tests.support.servers import openssl_binary, redis7_binary

pytestmark = pytest.mark.integration

ODD = "a/b@c:d?e#f %é'\""


@pytest.fixture
def client(servers: EmbeddedEnvironment) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.endpoints.redis_url, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture
def connection(servers: EmbeddedEnvironment) -> Iterator[RedisConnection]:
    with RedisConnection(servers.endpoints.redis_url, timeout=10) as connection:
        yield connection


def test_every_type_of_answer_is_the_clients(client: redis.Redis, connection: RedisConnection) -> None:
    value = b"\r\n$5\r\n\x00\xff" + secrets.token_bytes(1_000_000)
    assert connection.call("SET", "value", value) == b"OK"
    assert connection.call("GET", "value") == client.get("value") == value
    assert connection.call("GET", "nothing") is client.get("nothing") is None
    assert connection.call("SET", "empty", "") == b"OK"
    assert connection.call("GET", "empty") == b""
    assert connection.call("DECR", "number") == -1
    assert connection.call("RPUSH", "list", "é", b"\xff", 3) == 3
    assert connection.call("LRANGE", "list", 0, -1) == client.lrange("list", 0, -1)
    assert connection.call("LRANGE", "nothing", 0, -1) == []
    nested = "return {1, {2, {'x', false}}, {}}"
    assert connection.call("EVAL", nested, 0) == client.eval(nested, 0) == [1, [2, [b"x", None]], []]
    assert connection.call("BLPOP", "nothing", "0.01") is None


def test_all_keys_are_found(client: redis.Redis, connection: RedisConnection) -> None:
    client.mset({f"key {number}": number for number in range(3_456)})
    assert sorted(connection.keys()) == sorted(client.keys())
    client.flushall()
    assert connection.keys() == []


def test_a_refusal_is_an_error_and_the_connection_is_usable_after_it(connection: RedisConnection) -> None:
    connection.call("SET", "text", "x")
    with pytest.raises(RedisFailure, match="not an integer"):
        connection.calls([("INCR", "text"), ("SET", "text", "y")])
    assert connection.call("GET", "text") == b"y"
    with pytest.raises(RedisFailure, match="not an integer"):
        connection.transaction([("SET", "text", "z"), ("INCR", "text"), ("LRANGE", "none", 0, -1)])
    with pytest.raises(RedisFailure, match="unknown command"):
        connection.transaction([("NO_COMMAND",)])
    assert connection.transaction([("GET", "text"), ("DBSIZE",)])[0] == b"z"


def test_a_url_names_user_password_and_database_as_for_the_client(
    servers: EmbeddedEnvironment, client: redis.Redis, connection: RedisConnection
) -> None:
    connection.call("ACL", "SETUSER", "o@d/d", "on", f">{ODD}", "allkeys", "+@all")
    place = servers.endpoints.redis_url.rpartition("@")[2].removesuffix("/0")
    user = f"{quote('o@d/d', safe='')}:{quote(ODD, safe='')}@{place}"
    for url in (f"redis://{user}/3", f"redis://{user}?db=3", f"redis://{user}/0?db=3"):
        with RedisConnection(url) as as_user:
            assert as_user.call("ACL", "WHOAMI") == b"o@d/d"
            as_user.call("SET", "where", url)
        with redis.Redis.from_url(url) as reader:
            assert reader.get("where") == url.encode()
    assert client.get("where") is None
    connection.call("ACL", "SETUSER", "open", "on", "nopass", "allkeys", "+@all")
    with (
        RedisConnection(f"redis://open@{place}/0") as as_user,
        redis.Redis.from_url(f"redis://open@{place}") as it,
    ):
        assert as_user.call("ACL", "WHOAMI") == str(it.acl_whoami()).encode() == b"open"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("redis://:", "redis://:wrong"), "WRONGPASS"),
        (lambda url: "redis://" + url.rpartition("@")[2], "NOAUTH"),
        (lambda url: url.removesuffix("/0") + "/999999", "DB index is out of range"),
        (lambda url: url.replace("@", "/s@"), "percent-encoded"),
        (lambda url: url.removesuffix("/0") + "/first", "percent-encoded"),
    ],
)
def test_a_wrong_url_is_refused_without_its_secret(
    servers: EmbeddedEnvironment, change: object, reason: str
) -> None:
    url = servers.endpoints.redis_url
    assert callable(change)
    with pytest.raises(probe.NotAnswering, match=reason) as raised:
        probe.ask("redis", change(url))
    assert url.split(":")[2].partition("@")[0] not in str(raised.value)


def test_a_unix_socket_and_tls_are_used_as_by_the_client(tmp_path: Path) -> None:
    with servers_of(redis7_binary(), make_certificates(tmp_path, openssl_binary())) as started:
        path = started.session.folder / "s"
        port = started.start(f"requirepass {PASSWORD}", f"unixsocket {path}")
        for url in (
            f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/1?{started.trust}",
            f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/1?ssl_cert_reqs=none",
            f"unix://:{PASSWORD}@{path}?db=1",
        ):
            with redis.Redis.from_url(url) as client:
                client.set("url", url)
            with RedisConnection(url, timeout=10) as connection:
                assert connection.call("GET", "url") == url.encode()
            assert probe.ask("redis", url).startswith("Redis 7.")
        with pytest.raises(RedisFailure, match="cannot connect"):
            RedisConnection(f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/1", timeout=10)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "Timeout reading"),
        (b"", "closed the connection"),
        (b"+PO", "closed the connection"),
        (b"$9\r\nshort", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not RESP"),
        (b":many\r\n", "not RESP"),
    ],
)
def test_a_server_that_does_not_answer_in_time_or_in_resp_is_an_error(
    answer: bytes | None, reason: str
) -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as accepted:
                accepted.recv(100)
                if answer is None:
                    accepted.recv(100)  # until the client gives up
                else:
                    accepted.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        url = f"redis://{LOOPBACK}:{listening.getsockname()[1]}"
        with pytest.raises(RedisFailure, match=reason), RedisConnection(url, timeout=0.5) as connection:
            connection.call("PING")
        thread.join()


def test_a_sentinel_without_a_port_has_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def connect(address: RedisAddress, timeout: float | None) -> Any:
        asked.append((address.host, address.port))
        raise RedisFailure("refused")

    monkeypatch.setattr(redis_connection, "_connected", connect)
    with pytest.raises(RedisFailure, match="no Sentinel names a primary"):
        primary_url("redis+sentinel://:p@h1,h2:1/name/0?sentinel_password=s")
    assert asked == [("h1", 26379), ("h2", 1)]
