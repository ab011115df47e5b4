"""A small HTTP API over one queue: create, read, list and cancel tasks, results, health, metrics.

    uvicorn --factory agentexec.api:create_app        # DATABASE_URL and REDIS_URL from the environment

or, in code with a pool: `app = create_app(task_names=pool.registry)`. Needs the extra `api`.
"""

from __future__ import annotations

from importlib.util import find_spec

from agentexec.errors import ConfigurationError

if missing := [name for name in ("fastapi", "limits", "prometheus_client") if find_spec(name) is None]:
    raise ConfigurationError(
        f"The API needs {', '.join(missing)}; install the extra: pip install 'agentexec-reference[api]'."
    )

from agentexec.api.app import create_app

__all__ = ["create_app"]
