"""The objects that the routes use, one `Service` per application; and health and metrics.

These do not wait for the threads of the task routes, which may all be busy.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from agentexec.api.limiting import CreationLimit
from agentexec.ops import metrics
from agentexec.ops.health import Checks
from agentexec.ops.metrics import Collector
from agentexec.producer.client import Client


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A client, its checks, metrics and rate limit. `task_names` is None if any name is accepted."""

    client: Client
    checks: Checks
    collector: Collector
    limit: CreationLimit
    task_names: tuple[str, ...] | None


def _service(request: Request) -> Service:
    service: Service = request.app.state.agentexec
    return service


Serving = Annotated[Service, Depends(_service)]

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process need not be restarted."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"description": "A server does not answer"}})
async def ready(service: Serving) -> JSONResponse:
    """Whether tasks can be recorded and dispatched; 503 with the reasons if not. Takes at most 2 s."""
    report = await asyncio.to_thread(service.checks.report)
    return JSONResponse(report.body(), status_code=200 if report.ready else 503)


@router.get("/metrics")
async def show_metrics(service: Serving) -> Response:
    """Metrics in Prometheus' text format."""
    body = await asyncio.to_thread(metrics.render, service.collector)
    return Response(body, media_type=metrics.CONTENT_TYPE)
