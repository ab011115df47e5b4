"""The queues in step: over the fakes always, over a real Valkey beside them where servers are."""

from __future__ import annotations

from typing import ClassVar

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from harness.environments.embedded import EmbeddedEnvironment
from tests.properties.clocked import ClockedFake, ClockedRedis
from tests.properties.queue_machine import QueueMachine

# The profile sets the number of examples. Comparing all contents after each step makes one as expensive as ten.
EXAMPLES = max(20, settings().max_examples // 2)
STEPS = settings().stateful_step_count * 4 // 5  # 40, and twice as many at night
pytestmark = pytest.mark.timeout(max(600, 4 * EXAMPLES))


class WithValkey(QueueMachine):
    """Memory, fakeredis and the server at `url`, which this machine has for itself."""

    url: ClassVar[str] = "redis://127.0.0.1:6379/0"
    imports = (*QueueMachine.imports, "from tests.properties.test_queue_machine import WithValkey")

    def servers(self) -> list[redis.Redis]:
        return [ClockedFake(version=(7, 0)), ClockedRedis.from_url(self.url)]


def test_memory_and_fakeredis_agree_and_keep_the_protocol() -> None:
    chosen = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(QueueMachine, settings=chosen)


@pytest.mark.integration
def test_memory_fakeredis_and_valkey_agree_and_keep_the_protocol(
    servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WithValkey, "url", servers.endpoints.redis_url)
    chosen = settings(max_examples=max(20, EXAMPLES // 2), stateful_step_count=STEPS)
    run_state_machine_as_test(WithValkey, settings=chosen)
