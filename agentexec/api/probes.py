"""Health and metrics. Answered beside the threads that serve tasks, so that busy ones do not look like dead ones."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from agentexec.api.service import Serving
from agentexec.ops import metrics

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> dict[str, str]:
    """That the process answers."""
    return {"status": "ok"}


@router.get("/health/live")
async def live() -> dict[str, str]:
    """That the process need not be restarted."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"description": "A server does not answer"}})
async def ready(service: Serving) -> JSONResponse:
    """Whether tasks can be recorded and dispatched; 503 with the reasons where they cannot. Takes 2 s at most."""
    report = await asyncio.to_thread(service.checks.report)
    return JSONResponse(report.body(), status_code=200 if report.ready else 503)


@router.get("/metrics")
async def show_metrics(service: Serving) -> Response:
    """For Prometheus."""
    return Response(
        await asyncio.to_thread(metrics.render, service.collector), media_type=metrics.CONTENT_TYPE
    )
