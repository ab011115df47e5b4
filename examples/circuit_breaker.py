"""A task that calls an external service through a circuit breaker.

    API_URL=http://127.0.0.1:9000/score agentexec worker examples.circuit_breaker:pool

agentexec retries the first failures. After five in a row the circuit of the worker process opens: for a minute no
task calls the service, and each new task becomes ERROR and a dead letter at once. When the service is back, run them
again with `agentexec dlq requeue --all`. Each worker process has its own circuit.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

from circuitbreaker import CircuitBreakerError, circuit
from pydantic import BaseModel

import agentexec as ax

pool = ax.Pool()


class APIContext(BaseModel):
    """The data for the service."""

    data: dict[str, Any]


class APIAnswer(BaseModel):
    """The response of the service."""

    answer: Any


@circuit(failure_threshold=5, recovery_timeout=60)  # type: ignore[untyped-decorator]  # circuitbreaker has no types
def call_external_api(data: dict[str, Any]) -> Any:
    """Post to the service; raises OSError if it fails."""
    request = Request(os.environ["API_URL"], json.dumps(data).encode(), {"Content-Type": "application/json"})  # noqa: S310 - the operator's own URL
    with urlopen(request, timeout=10) as response:  # noqa: S310 - as above
        return json.load(response)


@pool.task("api_task")
def api_task(agent_id: UUID, context: APIContext) -> APIAnswer:
    """Call the service. A handler that is not async runs in a thread."""
    try:
        return APIAnswer(answer=call_external_api(context.data))
    except CircuitBreakerError:
        # No retry: within seconds it would meet the same open circuit.
        ax.activity.error(agent_id, "Circuit breaker open - service unavailable")
        raise
