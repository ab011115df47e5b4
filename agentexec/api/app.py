"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from agentexec.api import tasks
from agentexec.api.guard import Guard, Keys
from agentexec.api.limiting import CreationLimit
from agentexec.api.service import Service, router
from agentexec.config import VERSION
from agentexec.core.redis_client import blocking_client
from agentexec.ops.health import Checks
from agentexec.ops.metrics import Collector
from agentexec.producer.client import Client

ENVELOPE = 65_536  # bytes of a request in addition to its context
UNAVAILABLE = (
    "A server of this service does not answer; it is not known whether a task was recorded. "
    "Try again with the same Idempotency-Key."
)

Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


def create_app(client: Client | None = None, *, task_names: Iterable[str] | None = None) -> FastAPI:
    """An API over the client's queue; without a client, over one from the environment that closes with the app.

    `task_names`, for example a pool's registry, are the only accepted names of tasks; by default any name is.
    Raises `ConfigurationError` if a setting is wrong or missing.
    """
    own = client is None
    client = client or Client()
    settings = client.settings
    checks = Checks.of(settings, database=client.database)
    service = Service(
        client=client,
        checks=checks,
        collector=Collector(checks, settings.queue_name),
        limit=CreationLimit(
            settings.api_rate_limit, blocking_client(settings, name="agentexec-api"), settings.queue_name
        ),
        task_names=None if task_names is None else tuple(sorted(task_names)),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        checks.close()
        service.limit.close()
        if own:
            client.close()

    app = FastAPI(title="agentexec", version=VERSION, lifespan=lifespan)
    app.state.agentexec = service
    app.include_router(tasks.router)
    app.include_router(router)
    keys = None if settings.api_keys is None else Keys(settings.api_keys.get_secret_value())
    app.add_middleware(Guard, keys=keys, max_body=settings.max_payload_bytes + ENVELOPE)
    app.add_exception_handler(RequestValidationError, _invalid)
    # FastAPI's only 400 is a body that no parser takes; clients need one code for all wrong bodies.
    app.add_exception_handler(400, _always(422, "The body is not JSON in UTF-8."))
    for error in (OperationalError, InterfaceError, NoConnectionFree, RedisError):
        app.add_exception_handler(error, _always(503, UNAVAILABLE, {"Retry-After": "5"}))  # seconds
    return app


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """422 with the place of each mistake, without the input."""
    assert isinstance(error, RequestValidationError)
    detail = [{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    return JSONResponse({"detail": detail}, status_code=422)


def _always(status: int, detail: str, headers: dict[str, str] | None = None) -> Handler:
    async def respond(_: Request, _error: Exception) -> Response:
        return JSONResponse({"detail": detail}, status_code=status, headers=headers)

    return respond
