"""The objects that the routes use; `create_app` makes one `Service` per application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from agentexec.api.limiting import CreationLimit
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
