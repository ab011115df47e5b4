"""Malformed payloads become dead letters with a reason and never end a worker."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from agentexec.config import load_settings
from agentexec.errors import InvalidTask
from agentexec.identifiers import new_id
from agentexec.queue.keys import partition_name
from agentexec.queue.protocol import Claim
from agentexec.task import Registry, TaskDefinition
from agentexec.text import MAX_MESSAGE
from agentexec.worker.run_result import RunKind, RunResult
from agentexec.worker.runner import HandlerRun, HandlerRunner


class Visit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: dict[str, int] = {}

    @field_validator("user")
    @classmethod
    def _has_an_id(cls, value: dict[str, int]) -> dict[str, int]:
        value["id"]  # no ValueError, so pydantic lets it through
        return value


async def visit(agent_id: UUID, context: Visit) -> None:
    raise AssertionError("it must not run")


DEFINITION = TaskDefinition("visit", visit, lock_key="user:{user[id]}")


def ended(payload: bytes) -> RunResult:
    """The result of a run of this payload."""

    class Sink:
        def __init__(self) -> None:
            self.result: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()

        def ended(self, result: RunResult) -> None:
            self.result.set_result(result)

        def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
            raise AssertionError("nothing ran")

    async def scene() -> RunResult:
        registry = Registry()
        registry.add(DEFINITION)
        sink = Sink()
        runner = HandlerRunner(registry, load_settings(), asyncio.get_running_loop(), sink)
        claim = Claim(task_id=new_id(), token=1, payload=payload)
        runner.begin([HandlerRun(claim=claim, attempt=1)])
        return await asyncio.wait_for(sink.result, 10)

    return asyncio.run(scene())


def payload(context: Any, name: str = "visit") -> bytes:
    return json.dumps({"task_name": name, "context": context}).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (payload({"user": {"name": 1}}), "its validation raised KeyError"),
        (payload({"a\x00b": 1}), "a\N{REPLACEMENT CHARACTER}b: Extra inputs are not permitted"),
        (payload({"\ud800": 1}), "does not fit Visit"),
        (payload({str(n) * 50: n for n in range(500)}), "does not fit Visit"),
        (payload({}, name="\ud800\x00"), "No handler is registered"),
        (payload({}, name="n" * 2 * MAX_MESSAGE), "No handler is registered"),
    ],
    ids=["validator", "nul", "surrogate", "long", "unknown", "long name"],
)
def test_a_context_that_fails_validation_is_dead_with_a_reason_that_fits_the_store(
    data: bytes, says: str
) -> None:
    result = ended(data)
    assert result.kind is RunKind.FAILED
    assert result.error is not None
    assert says in result.error
    assert "\x00" not in result.error
    assert len(result.error.encode()) <= 4 * MAX_MESSAGE


def test_an_unregistered_name_is_not_counted_as_a_task_that_ran() -> None:
    """Metrics would have a label for each of them, and cannot write half of a surrogate pair at all."""
    result = ended(payload({}, name="\ud800"))
    assert (result.task_name, result.seconds) == ("", None)


@pytest.mark.parametrize("user", [5, None, [], "text", {}])
def test_a_lock_key_that_cannot_be_made_is_an_invalid_task(user: object) -> None:
    with pytest.raises(InvalidTask, match="lock key"):
        DEFINITION.lock_key({"user": user})


def test_any_text_can_be_a_lock_key() -> None:
    keys = ["user:1", "user:\ud800", "user:\udfff", "user:\x00", ""]
    assert len({partition_name(key) for key in keys}) == len(keys)
