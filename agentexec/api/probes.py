"""Health and metrics. They do not wait for the threads of the task routes, which may all be busy."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from agentexec.api.service import Serving
from agentexec.ops import metrics

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
