"""The options of DATABASE_URL: those of libpq, and what other drivers call the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agentexec.errors import ConfigurationError

# asyncpg's cache of prepared statements. agentexec decides about them itself, since it notices a pooler.
LEFT_OUT = (
    "statement_cache_size", "prepared_statement_cache_size",
    "max_cached_statement_lifetime", "max_cacheable_statement_size",
)  # fmt: skip
SSL_MODES = dict.fromkeys(("true", "1", "on", "yes"), "require") | dict.fromkeys(
    ("false", "0", "off", "no"), "disable"
)
INSTEAD = {
    "server_settings": "write options=-c%20name=value instead",
    **dict.fromkeys(("currentschema", "schema"), "write options=-c%20search_path=name instead"),
    "applicationname": "write application_name instead",
    **dict.fromkeys(("command_timeout", "sockettimeout"), "set AGENTEXEC_DATABASE_TIMEOUT instead"),
    "connecttimeout": "write connect_timeout instead",
}


def libpq_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options for psycopg; raises `ConfigurationError` for one that psycopg does not know, by its name."""
    from psycopg.pq import Conninfo  # only for URLs with options: an import of agentexec stays fast

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name == "ssl":
            options.setdefault("sslmode", SSL_MODES.get(str(value).lower(), value))
        elif name == "timeout":
            options.setdefault("connect_timeout", _whole_seconds(str(value)))
        elif name in known:
            options[name] = value
        elif name not in LEFT_OUT:
            shown = name if name.isidentifier() and "@" not in str(value) else "(not a name)"  # of a password
            raise ConfigurationError(
                f"DATABASE_URL has the option {shown}, which psycopg does not know; "
                f"{INSTEAD.get(name.lower(), 'leave it out')}."
            )
    return options


def _whole_seconds(text: str) -> str:
    try:
        return str(max(1, math.ceil(float(text))))
    except (ValueError, OverflowError):
        raise ConfigurationError(
            "DATABASE_URL has a timeout that is no number of seconds; write connect_timeout=10."
        ) from None
