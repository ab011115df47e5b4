"""A failover that breaks down half way: the servers come back into step all the same."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from harness.environments.redis_connection import RedisFailure
from harness.environments.topologies import redis_sentinel
from harness.environments.topologies.postgres_standby import PostgresWithStandby
from harness.environments.topologies.redis_sentinel import RedisBehindSentinels
from harness.errors import EnvironmentUnavailable


class Member:
    """A server that notes how it came back."""

    def __init__(self) -> None:
        self.came_back: list[object] = []

    def set(self, name: str, value: str) -> None:
        """Every setting is taken."""

    def rejoin(self, source: object) -> None:
        self.came_back.append(source)

    def restart(self) -> None:
        self.came_back.append(self)


def test_a_standby_that_was_to_lag_follows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: Any = object.__new__(PostgresWithStandby)
    servers._primary, servers._standby, servers._is_alone = Member(), Member(), False

    def too_late(*_: object) -> None:
        raise EnvironmentUnavailable("it still receives")

    monkeypatch.setattr(servers, "wait_for", too_late)
    with pytest.raises(EnvironmentUnavailable, match="still receives"):
        servers.fail_over(lag=1.0)
    monkeypatch.setattr(servers, "wait_for", lambda *_: True)
    servers.rejoin()
    assert servers._standby.came_back == [servers._primary]


def test_a_primary_whose_replicas_were_to_lag_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: Any = object.__new__(RedisBehindSentinels)
    servers._lost, primary = None, Member()
    monkeypatch.setattr(servers, "wait_for", lambda *_: primary)
    monkeypatch.setattr(redis_sentinel, "_connected", lambda _: nullcontext(Refusing()))
    with pytest.raises(RedisFailure, match="no such command"):
        servers.fail_over(lag=1.0)
    monkeypatch.setattr(servers, "_wait_until_in_step", lambda: None)
    servers.rejoin()
    assert primary.came_back == [primary]


class Refusing:
    def call(self, *_: object) -> None:
        raise RedisFailure("no such command")
