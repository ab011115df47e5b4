"""All that a load samples: its workers, its servers and, where their logs are files of this machine, the logs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.environments.base import SERVICES, Environment, LogsInFiles, Service
from harness.environments.log_errors import LogReader, LogWatch, log_file
from harness.llm.endpoint_process import EndpointProcess
from harness.load.endpoint_gauges import EndpointSampler
from harness.load.gauges import LoadGauges, Sampler
from harness.load.server_gauges import PostgresSampler, RedisSampler
from harness.load.target import LoadTarget
from harness.load.worker_gauges import WorkersSampler

ENV_LOGS = "HARNESS_SERVER_LOGS"
"""The environment variable with the files of the servers' logs by service, as JSON."""
ENV_SLOTS = "HARNESS_LOAD_SLOTS"
"""The environment variable with the slots of the pool, as text."""


def gauges_of(
    target: LoadTarget, queues: Sequence[str], elapsed: Callable[[], float], endpoint: EndpointProcess | None
) -> LoadGauges:
    """The gauges of the servers and the workers of a load; the logs are watched from now on.

    `endpoint` is the process of an LLM endpoint, None without one.
    """
    samplers: list[Sampler] = [
        WorkersSampler(target.redis_url, queues),
        PostgresSampler(target.database_url),
        RedisSampler(target.redis_url),
    ]
    if endpoint is not None:
        samplers.append(EndpointSampler(endpoint))
    return LoadGauges(samplers, elapsed, LogWatch(_log_readers(os.environ.get(ENV_LOGS))))


def log_variables(environment: Environment) -> dict[str, str]:
    """The environment variables by which a child process finds the logs of the servers; none if they are no files."""
    if not isinstance(environment, LogsInFiles):
        return {}
    return {ENV_LOGS: json.dumps({service: str(path) for service, path in environment.log_files.items()})}


def _log_readers(variable: str | None) -> Mapping[Service, LogReader]:
    files: Mapping[Service, str] = json.loads(variable) if variable else {}
    return {
        service: log_file(Path(files[service])) if service in files else lambda: "" for service in SERVICES
    }
