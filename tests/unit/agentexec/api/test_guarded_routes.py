"""Every route needs a key and bounds its body wherever the API is: plain, behind a root path, mounted, or both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message

from agentexec.api import create_app
from agentexec.api.app import ENVELOPE
from agentexec.api.guard import OPEN
from agentexec.config import load_settings
from agentexec.core.db import create_schema
from agentexec.producer.client import Client

KEY = "old-key-0123456789abcdef"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
WRONG_KEYS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Basic {KEY}"},
)
CLOSED_PORT = "127.0.0.1:1"  # a port without a listener
TOO_LARGE = b"x" * (ENVELOPE + 1001)


@pytest.fixture
def client() -> Iterator[Client]:
    settings = load_settings(
        database_url="sqlite://",
        redis_url=f"redis://{CLOSED_PORT}",
        api_rate_limit="off",
        max_payload_bytes=1000,
    )
    client = Client(settings=settings)
    create_schema(client.engine)
    yield client
    client.close()


def with_keys(client: Client, keys: str | None = KEY) -> FastAPI:
    client.settings = client.settings.model_copy(
        update={"api_keys": None if keys is None else SecretStr(keys)}
    )
    return create_app(client)


def in_fastapi(app: ASGIApp) -> ASGIApp:
    outer = FastAPI()
    outer.mount("/x", app)
    return outer


def in_starlette_twice(app: ASGIApp) -> ASGIApp:
    return Starlette(routes=[Mount("/x", routes=[Mount("/a b", app=app)])])


# Where the application is: what contains it, the root path of the server, and the prefix of a request's path.
PLACES: dict[str, tuple[Callable[[Any], ASGIApp], str, str]] = {
    "plain": (lambda app: app, "", ""),
    "root path": (lambda app: app, "/svc", "/svc"),
    "root path like a route": (lambda app: app, "/health", "/health"),
    "root path that the server does not repeat": (lambda app: app, "/svc", ""),
    "root path with a slash": (lambda app: app, "/svc/", "/svc/"),
    "mounted": (in_fastapi, "", "/x"),
    "mounted behind a root path": (in_fastapi, "/svc", "/svc/x"),
    "mounted twice, with a space": (in_starlette_twice, "", "/x/a b"),
}
place = pytest.mark.parametrize("place", PLACES)


def ask(app: FastAPI, place: str, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
    """The responses to `(method, path, options)`, one after the other."""
    contain, root_path, prefix = PLACES[place]

    async def asking() -> list[httpx.Response]:
        transport = httpx.ASGITransport(contain(app), root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=30) as http:
            return [await http.request(method, prefix + path, **more) for method, path, more in requests]

    return asyncio.run(asking())


def routes(router: Any) -> Iterator[tuple[str, str]]:
    """The method and path of every route, with those of included routers."""
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes(included)
            continue
        for method in route.methods:
            yield method, route.path.replace("{agent_id}", str(uuid4()))


def test_every_route_of_the_document_is_walked(client: Client) -> None:
    app = with_keys(client)
    walked = {path.split("/")[1] for _, path in routes(app)}
    assert walked == {"api", "health", "metrics", "docs", "redoc", "openapi.json"}
    methods = sum(len(operations) for operations in app.openapi()["paths"].values())
    documents = 4 * 2  # each for GET and HEAD, and not in the document itself
    assert len(list(routes(app))) == methods + documents


@place
def test_a_route_is_open_only_where_the_list_has_it(client: Client, place: str) -> None:
    app = with_keys(client)
    all_routes = list(routes(app))
    for headers in WRONG_KEYS:
        answers = ask(app, place, [(method, path, {"headers": headers}) for method, path in all_routes])
        refused = {
            path for (_, path), answer in zip(all_routes, answers, strict=True) if answer.status_code == 401
        }
        assert refused == {path for _, path in all_routes} - OPEN
    answers = ask(app, place, [(method, path, {"headers": WITH_KEY}) for method, path in all_routes])
    found = {path: answer.status_code for (_, path), answer in zip(all_routes, answers, strict=True)}
    assert found.pop("/health/ready") == 503  # there is no Redis
    assert set(found.values()) <= {200, 404, 422}, found


@place
@pytest.mark.parametrize("keys", [KEY, None])
def test_a_body_is_bounded_at_every_route(client: Client, place: str, keys: str | None) -> None:
    app = with_keys(client, keys)
    options = {"headers": WITH_KEY, "content": TOO_LARGE}
    answers = ask(app, place, [(method, path, options) for method, path in routes(app)])
    assert {answer.status_code for answer in answers} == {413}


@place
@pytest.mark.parametrize("keys", [KEY, None])
def test_a_task_is_created_and_found_at_its_location(client: Client, place: str, keys: str | None) -> None:
    _, _, prefix = PLACES[place]
    app = with_keys(client, keys)
    body = {"json": {"task_name": "t"}, "headers": WITH_KEY}
    (created,) = ask(app, place, [("POST", "/api/tasks", body)])
    assert created.status_code == 202, created.text
    location = httpx.URL(created.headers["Location"]).path
    public = PLACES[place][1].rstrip("/") if place.startswith("root path") else prefix
    assert location == f"{public}/api/tasks/{created.json()['agent_id']}"
    path = location.removeprefix(public)
    reads = [
        (method, path + end, {"headers": WITH_KEY}) for method, end in (("GET", ""), ("POST", "/cancel"))
    ]
    assert [answer.status_code for answer in ask(app, place, reads)] == [200, 200]


@place
def test_no_spelling_of_a_path_goes_past_the_keys(client: Client, place: str) -> None:
    methods = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "X")
    paths = (
        "/",
        "//",
        "/api",
        "/api/tasks/",
        "//api/tasks",
        "/api//tasks",
        "/%61pi/tasks",
        "/api%2Ftasks",
        "/API/TASKS",
        "/Metrics",
        "/metrics/",
        "/metrics?/health",
        "/health/../api/tasks",
        "/health/live/%2e%2e/metrics",
        "/health;/metrics",
        "/health/api/tasks",
        "/healthy",
        "/nowhere",
    )
    requests = [(method, path) for method in methods for path in paths]
    answers = ask(with_keys(client), place, [(*request, {}) for request in requests])
    assert [r for r, answer in zip(requests, answers, strict=True) if answer.status_code != 401] == []


def test_what_an_application_adds_needs_a_key_too(client: Client) -> None:
    app = with_keys(client)
    app.mount("/more", FastAPI())

    @app.get("/extra")
    def extra() -> str:
        return "open"

    for path in ("/extra", "/more/docs"):
        without, with_key = ask(app, "plain", [("GET", path, {}), ("GET", path, {"headers": WITH_KEY})])
        assert (without.status_code, with_key.status_code) == (401, 200)


def connect(app: ASGIApp, path: str, headers: dict[str, str]) -> list[Message]:
    """What the application sends to a client that opens a websocket and then leaves."""
    received: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    sent: list[Message] = []
    scope = {
        "type": "websocket",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]  # an application returns a coroutine
    return sent


@pytest.mark.parametrize("mounted", [False, True])
def test_a_websocket_needs_a_key(client: Client, mounted: bool) -> None:
    app = with_keys(client)

    @app.websocket("/feed")
    async def feed(socket: WebSocket) -> None:
        await socket.accept()

    server, path = (in_fastapi(app), "/x/feed") if mounted else (app, "/feed")
    assert [message["type"] for message in connect(server, path, WITH_KEY)] == ["websocket.accept"]
    for headers in WRONG_KEYS:
        (refusal,) = connect(server, path, headers)
        assert (refusal["type"], refusal["code"]) == ("websocket.close", 1008)
