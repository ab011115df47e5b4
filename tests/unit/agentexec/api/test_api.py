"""The parts of the HTTP API that need no server: keys, limits, the guard, and what a body may hold."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fakeredis
import httpx
import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from agentexec.api.bodies import NewTask
from agentexec.api.guard import CALLER, Guard, Keys
from agentexec.api.limiting import CreationLimit
from agentexec.errors import ConfigurationError
from agentexec.text import DEEPEST

OLD, NEW = "old-key-0123456789abcdef", "new-key-0123456789abcdef"


def test_both_keys_are_valid_during_rotation_and_identify_different_callers() -> None:
    keys = Keys(f"{OLD}, {NEW},")
    callers = {keys.caller(f"Bearer {OLD}"), keys.caller(f"bearer  {NEW} ")}
    assert len(callers) == 2
    assert None not in callers
    assert not [caller for caller in callers if OLD in str(caller) or NEW in str(caller)]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {OLD}x", f"Bearer {OLD[:-1]}", f"Basic {OLD}", OLD, "Bearer ünï"]
)
def test_everything_else_is_no_key(header: str | None) -> None:
    assert Keys(f"{OLD},{NEW}").caller(header) is None


@pytest.mark.parametrize("text", ["short", f"{OLD},short", ",", " , "])
def test_a_key_that_can_be_guessed_is_refused_without_naming_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 characters") as error:
        Keys(text)
    assert "short" not in str(error.value)


def test_a_caller_waits_once_the_limit_is_reached_and_others_do_not(redis: fakeredis.FakeRedis) -> None:
    limit = CreationLimit("3/minute", redis, "q")
    assert [limit.wait("one") for _ in range(3)] == [None] * 3
    wait = limit.wait("one")
    assert wait is not None
    assert 1 <= wait <= 60
    assert limit.wait("another") is None


@pytest.mark.parametrize("text", ["10/minute;100/hour", "10/minute, 5/second", "0/minute", "many", ""])
def test_a_limit_that_would_not_be_applied_as_it_is_written_is_refused(
    text: str, redis: fakeredis.FakeRedis
) -> None:
    with pytest.raises(ConfigurationError, match="write it like 100/minute, or off"):
        CreationLimit(text, redis, "q")


def test_servers_count_together_and_queues_apart(redis: fakeredis.FakeRedis) -> None:
    assert CreationLimit("1/minute", redis, "q").wait("one") is None
    assert CreationLimit("1/minute", redis, "q").wait("one") is not None
    assert CreationLimit("1/minute", redis, "r").wait("one") is None


def test_a_request_that_is_sent_again_counts_once(
    redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    send: Callable[..., Any] = redis.execute_command

    def twice(*command: Any, **options: Any) -> Any:
        send(*command, **options)
        return send(*command, **options)

    monkeypatch.setattr(redis, "execute_command", twice)
    limit = CreationLimit("2/minute", redis, "q")
    assert [limit.wait("one") is None for _ in range(3)] == [True, True, False]


def test_what_the_limit_counts_ends_with_its_window(
    redis: fakeredis.FakeRedis, eventually: Callable[..., Any]
) -> None:
    limit = CreationLimit("2/second", redis, "q")
    assert [limit.wait("one") for _ in range(3)] == [None, None, 1]
    (key,) = redis.keys("*")
    assert 0 < redis.pttl(key) <= 1000
    eventually(lambda: limit.wait("one") is None)


def test_threads_of_a_server_without_redis_pass_the_limit_exactly(redis: fakeredis.FakeRedis) -> None:
    limit = CreationLimit("10/minute", redis, "q")
    redis.connection_pool.connection_kwargs["server"].connected = False
    with ThreadPoolExecutor(40) as threads:
        waits = list(threads.map(lambda _: limit.wait("one"), range(200)))
    assert waits.count(None) == 10


def test_a_server_counts_for_itself_while_redis_is_away(redis: fakeredis.FakeRedis) -> None:
    limit = CreationLimit("2/minute", redis, "q")
    redis.connection_pool.connection_kwargs["server"].connected = False
    assert [limit.wait("one") is None for _ in range(4)] == [True, True, False, False]


def test_a_redis_that_stays_away_is_logged_once(
    redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentexec.api.limiting")
    monkeypatch.setattr("agentexec.api.limiting.REDIS_PAUSE", 0.0)
    limit = CreationLimit("9/minute", redis, "q")
    for connected in (True, False, False, False, True, True):
        redis.connection_pool.connection_kwargs["server"].connected = connected
        limit.wait("one")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_limit_can_be_off(redis: fakeredis.FakeRedis) -> None:
    limit = CreationLimit("off", redis, "q")
    assert {limit.wait("one") for _ in range(300)} == {None}


def test_a_limit_that_makes_no_sense_is_one_sentence(redis: fakeredis.FakeRedis) -> None:
    with pytest.raises(ConfigurationError, match="'plenty'; write it like 100/minute"):
        CreationLimit("plenty", redis, "q")


@pytest.mark.parametrize(
    "wrong",
    [
        {"task_name": ""},
        {"task_name": "t" * 256},
        {"task_name": "t\x00"},
        {"task_name": "t", "context": {"a": ["\x00"]}},
        {"task_name": "t", "context": {"\x00": 1}},
        {"task_name": "t", "metadata": {"a": "\ud800"}},
        {"task_name": "t", "context": {"a": [float("nan")]}},
        {"task_name": "t", "context": []},
        {"task_name": "t", "delay": -1},
        {"task_name": "t", "delay": float("inf")},
        {"task_name": "t", "priority": "urgent"},
        {"task_name": "t", "contxt": {}},
    ],
)
def test_a_body_that_cannot_be_recorded_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewTask.model_validate(wrong)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def test_a_body_may_be_deep_but_not_bottomless() -> None:
    NewTask(task_name="t", context=nested(DEEPEST // 2))
    with pytest.raises(ValidationError, match="levels deep"):
        NewTask(task_name="t", context=nested(DEEPEST // 2 + 1))


def test_text_that_only_looks_like_a_nul_is_taken() -> None:
    context = {"a": "\\u0000", "b": [1, None, True, 2.5, "ü"]}
    assert NewTask(task_name="t", context=context).context == context


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the caller and the length of the body."""
    body = await Request(scope, receive).body()
    await JSONResponse({"caller": scope.get(CALLER), "bytes": len(body)})(scope, receive, send)


def ask(guard: Guard, path: str, **options: Any) -> httpx.Response:
    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(app=guard, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post(path, **options)

    return asyncio.run(asking())


@pytest.mark.parametrize(("path", "status"), [("/api/tasks", 401), ("/metrics", 401), ("/health/live", 200)])
def test_only_health_is_open_where_there_are_keys(path: str, status: int) -> None:
    answer = ask(Guard(echo, keys=Keys(OLD), max_body=10), path)
    assert answer.status_code == status
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


def test_a_caller_with_a_key_is_known_by_it_and_one_without_by_its_address() -> None:
    headers = {"Authorization": f"Bearer {OLD}"}
    known = ask(Guard(echo, keys=Keys(OLD), max_body=10), "/api/tasks", headers=headers).json()
    assert known["caller"].startswith("key-")
    assert ask(Guard(echo, keys=None, max_body=10), "/api/tasks").json()["caller"] == "192.0.2.7"


async def pieces(size: int) -> Any:
    """A body whose length is not announced."""
    for _ in range(size):
        yield b"x"


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
def test_the_guard_counts_every_byte(announced: bool, size: int, status: int) -> None:
    content = b"x" * size if announced else pieces(size)
    answer = ask(Guard(echo, keys=None, max_body=10), "/api/tasks", content=content)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["bytes"] == size


def test_a_length_that_is_no_number_is_refused() -> None:
    guard = Guard(echo, keys=None, max_body=10)
    assert ask(guard, "/api/tasks", content=b"x", headers={"Content-Length": "-1"}).status_code == 413


def test_without_its_libraries_the_api_names_what_to_install() -> None:
    script = """
import importlib.util as util
found = util.find_spec
util.find_spec = lambda name, *rest: None if name == "fastapi" else found(name, *rest)
try:
    import agentexec.api
except Exception as error:
    import json; print(json.dumps([type(error).__name__, str(error)]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    kind, sentence = json.loads(done.stdout)
    assert kind == "ConfigurationError"
    assert sentence == "The API needs fastapi; install the extra: pip install 'agentexec-reference[api]'."
