"""A task that calls a service which may be down, behind a circuit breaker.

    API_URL=http://127.0.0.1:9000/score agentexec worker examples.circuit_breaker:pool

The first failures are retried by agentexec. After five in a row the circuit of that worker process opens: for a
minute nothing calls the service, and what arrives meanwhile ends as ERROR at once, with the reason, in the dead
letters. When the service is back, run those again: `agentexec dlq requeue --all`.

Each worker process has a circuit of its own, so a service that goes down sees at most five failing calls from each.
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
    """What is sent to the service."""

    data: dict[str, Any]


class APIAnswer(BaseModel):
    """What the service said."""

    answer: Any


@circuit(failure_threshold=5, recovery_timeout=60)  # type: ignore[untyped-decorator]  # circuitbreaker has no types
def call_external_api(data: dict[str, Any]) -> Any:
    """Post to the service and return its answer; raises OSError where it fails."""
    request = Request(os.environ["API_URL"], json.dumps(data).encode(), {"Content-Type": "application/json"})  # noqa: S310 - the operator's own URL
    with urlopen(request, timeout=10) as response:  # noqa: S310 - see above
        return json.load(response)


@pool.task("api_task")
def api_task(agent_id: UUID, context: APIContext) -> APIAnswer:
    """Ask the service, unless its circuit is open. Not async: agentexec runs it in a thread."""
    try:
        return APIAnswer(answer=call_external_api(context.data))
    except CircuitBreakerError:
        # Retrying within seconds would meet the same open circuit, so this ends the task for good.
        ax.activity.error(agent_id, "Circuit breaker open - service unavailable")
        raise


if __name__ == "__main__":
    pool.run()
