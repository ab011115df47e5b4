"""The state machine over the fakes in this process, and the same one over real servers."""

from __future__ import annotations

from uuid import uuid4

import fakeredis
import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from agentexec.core.db import create_schema, engine_for
from agentexec.queue.redis_queue import RedisQueue
from harness.environments.embedded import EmbeddedEnvironment
from tests.properties.activity_machine import ActivityMachine

# The profile sets the number of examples. Comparing everything after each step makes one as expensive as ten.
EXAMPLES = max(20, settings.default.max_examples // 2) if settings.default else 20
STEPS = settings().stateful_step_count * 3 // 5  # 30, and twice as many at night
pytestmark = pytest.mark.timeout(max(600, 4 * EXAMPLES))


class OverFakes(ActivityMachine):
    """SQLite and fakeredis, both in memory."""

    imports = ("from tests.properties.test_activity_machine import OverFakes",)

    def servers(self) -> tuple[Engine, RedisQueue]:
        self.client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
        engine = engine_for("sqlite://")
        create_schema(engine)
        return engine, RedisQueue(self.client, "machine")

    def close(self) -> None:
        self.client.close()
        self.engine.dispose()


def test_activities_survive_all_that_over_the_fakes() -> None:
    run_state_machine_as_test(OverFakes, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))


@pytest.mark.integration
def test_activities_survive_all_that_over_real_servers(servers: EmbeddedEnvironment) -> None:
    engine = engine_for(servers.endpoints.database_url)
    create_schema(engine)
    client = redis.Redis.from_url(servers.endpoints.redis_url)

    class OverServers(ActivityMachine):
        def servers(self) -> tuple[Engine, RedisQueue]:
            return engine, RedisQueue(client, f"machine-{uuid4().hex}")

        def close(self) -> None:
            self.queue.drop()

    try:
        run_state_machine_as_test(
            OverServers, settings=settings(max_examples=EXAMPLES // 2, stateful_step_count=STEPS)
        )
    finally:
        client.close()
        engine.dispose()
