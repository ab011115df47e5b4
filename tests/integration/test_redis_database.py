"""The keys of an application are in a database of their own, and clients of its code lead there."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

from harness.environments.embedded import EmbeddedEnvironment
from harness.errors import TargetFailed
from harness.targets.applications.redis_database import database_of, repoint
from harness.targets.base import TargetSettings

HERE = Path()


def settings(*, disposable: bool) -> TargetSettings:
    return TargetSettings(queue="q", folder=HERE, history=HERE, gate_address="", disposable=disposable)


def test_each_run_on_a_redis_of_the_user_has_an_empty_database_of_its_own(
    servers: EmbeddedEnvironment,
) -> None:
    url = servers.endpoints.redis_url
    with database_of(url, settings(disposable=True)) as same:
        assert same == url
    with ExitStack() as runs:
        one, two = (runs.enter_context(database_of(url, settings(disposable=False))) for _ in range(2))
        assert len({url, one, two}) == 3
        with closing(redis.Redis.from_url(one)) as client, closing(redis.Redis.from_url(two)) as other:
            client.set("rq:queue:default", "1")
            assert other.get("rq:queue:default") is None
    with closing(redis.Redis.from_url(one)) as client:
        assert client.dbsize() == 0
    with pytest.raises(TargetFailed, match="No database of the Redis can be used"):
        with database_of("redis://127.0.0.1:1/0", settings(disposable=False)):
            pass


@pytest.mark.parametrize("kind", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_a_client_of_the_application_leads_to_the_run_and_keeps_its_options(
    servers: EmbeddedEnvironment, kind: type[redis.ConnectionPool]
) -> None:
    pool = kind.from_url("rediss://u:secret@redis.example:6380/7?ssl_cert_reqs=none", decode_responses=True)
    with closing(redis.Redis(connection_pool=pool)) as client:
        repoint(pool, f"{servers.endpoints.redis_url.rpartition('/')[0]}/14")
        client.set("repointed", "yes")
        assert client.get("repointed") == "yes", "decode_responses is an option of the application"
        assert "secret" not in str(pool.connection_kwargs)
        client.delete("repointed")


def test_a_pool_of_sentinel_is_refused_in_one_sentence() -> None:
    sentinel: Any = Sentinel
    pool = sentinel([("redis.example", 1)]).master_for("shop").connection_pool
    with pytest.raises(TargetFailed, match="A SentinelConnectionPool of the application cannot lead to"):
        repoint(pool, "redis://127.0.0.1:1/0")
