from __future__ import annotations

import pytest
import redis

from agentexec.core import circuit
from agentexec.core.circuit import Circuit
from tests.conftest import Eventually


@pytest.mark.parametrize(
    "answer", [None, redis.exceptions.NoPermissionError("no"), redis.ResponseError("BUSY")]
)
def test_redis_is_silent_until_it_answers_whatever_the_answer(
    answer: Exception | None, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "PROBE_EVERY_SECONDS", 0.001)
    answers = [answer, redis.ConnectionError("gone"), redis.TimeoutError("silent")]

    def probe() -> None:
        error = answers.pop()
        if error is not None:
            raise error

    breaker = Circuit(probe)
    breaker.note(redis.TimeoutError())
    eventually(lambda: not breaker.silent)
    assert answers == []
