"""All settings as a table for the documentation: docs/reference/settings.md has it between two marks."""

from __future__ import annotations

from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from agentexec.config import Settings, variable

HEADER = "| variable | type | default | unit | range | meaning |\n|---|---|---|---|---|---|"
# The unit and the meaning of each setting. The rest of a row comes from the setting itself.
MEANINGS = {
    "database_url": ("URL", "PostgreSQL 14 or newer, or SQLite. Required"),
    "database_timeout": (
        "s",
        "how long `enqueue` waits for a silent database, and at most 60 for a new connection to it; a worker waits as "
        "long, or a lease if that is longer",
    ),
    "redis_url": (
        "URL",
        "Redis 7.0 or newer, or Valkey; `redis://`, `rediss://`, `redis+sentinel://`, `rediss+sentinel://`. Required",
    ),
    "redis_pool_size": ("connections", "connections of one client"),
    "redis_pool_timeout": ("s", "how long a client waits for a connection and for a reply"),
    "table_prefix": ("at most 31 characters", "prefix of all table and index names"),
    "queue_name": ("at most 128 characters", "name of the queue: its keys in Redis and its rows in Postgres"),
    "num_workers": ("processes", "worker processes of a pool"),
    "worker_concurrency": ("handlers", "handlers that one worker process runs at a time"),
    "graceful_shutdown_timeout": ("s", "how long running handlers may continue after SIGTERM"),
    "lease_seconds": ("s", "length of a lease; renewed every third of it"),
    "max_task_retries": ("retries", "retries after a failure of the handler"),
    "retry_base_seconds": ("s", "the first retry waits at most this long; the bound doubles each time"),
    "retry_cap_seconds": ("s", "upper bound of the wait before a retry"),
    "task_soft_time_limit": ("s, 0 = none", "cancels an async handler; the attempt counts as failed"),
    "task_time_limit": (
        "s, 0 = none",
        "ends the worker process under a handler; the attempt counts as failed",
    ),
    "max_tasks_per_worker": ("tasks, 0 = none", "a worker process is replaced after about so many tasks"),
    "max_worker_memory": ("bytes, 0 = none", "a worker process is replaced above this resident size"),
    "max_crashes": ("crashes", "crashes of one task, alone on its worker, before it becomes a dead letter"),
    "unknown_task_seconds": (
        "s",
        "a task that no live pool knows, or whose context none accepts, becomes a dead letter after so long",
    ),
    "max_queue_depth": ("tasks, 0 = none", "cap of the queue; more tasks are recorded and dispatched later"),
    "max_payload_bytes": ("bytes", "largest context of a task, with its metadata; at most 128 MiB"),
    "max_result_bytes": (
        "bytes",
        "largest result of a task as JSON; a larger one fails the task at once; at most 128 MiB",
    ),
    "result_ttl": ("s", "how long Redis keeps a copy of a result"),
    "reconcile_seconds": ("s", "interval of the comparison of all pending rows with the queue"),
    "metrics_port": ("port, 0 = none", "port of metrics and health endpoints of a pool"),
    "metrics_host": ("address", "address that this port listens on"),
    "log_format": ("", "format of the log of a pool and its workers"),
    "log_level": (
        "",
        "lowest level of the root logger in a pool and its workers; none leaves it to the application",
    ),
    "api_rate_limit": (
        "`N/second`, `/minute`, `/hour`, or `off`",
        "tasks that one caller of the HTTP API may create",
    ),
    "api_keys": ("comma-separated", "bearer keys of the HTTP API; none means no authentication"),
    "activity_message_create": ("", "message of the first log entry"),
    "activity_message_started": ("", "message of a start"),
    "activity_message_complete": ("", "message of a completion"),
    "activity_message_error": ("", "message of a failure; `{error}` is the error"),
}
_TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", SecretStr: "secret"}


def settings_table() -> str:
    """The table in Markdown, one row for each setting in the order of the class."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([HEADER, *rows])


def _row(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias or variable(name)]
    unit, meaning = MEANINGS[name]
    cells = (
        ", ".join(f"`{one}`" for one in names),
        _type(field.annotation),
        _default(field.default),
        unit,
        _range(field.metadata),
        meaning,
    )
    return f"| {' | '.join(cells)} |"


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType] or [annotation]
    return _type(kinds[0]) if kinds != [annotation] else _TYPES[annotation]


def _default(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"{default:.15g}"


def _range(metadata: list[Any]) -> str:
    """The bounds of a number, such as "from 1 to 1024"."""
    words = (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
    bounds = ((word, getattr(limit, name, None)) for name, word in words for limit in metadata)
    return " ".join(f"{word} {bound:.15g}" for word, bound in bounds if bound is not None)
