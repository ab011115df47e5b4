"""Where worker processes find the application under test, and the environment in which they run it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.environments.base import Endpoints
from harness.errors import UsageError

ENV_APPLICATION = "HARNESS_APPLICATION"
"""The environment variable with the application of a pool, as `package.module:NAME`."""

_SERVICES = {
    **dict.fromkeys(("postgres", "postgresql"), "postgres"),
    **dict.fromkeys(("redis", "rediss"), "redis"),
    **dict.fromkeys(("amqp", "amqps"), "rabbitmq"),
}
"""The service whose URLs begin with a scheme."""
# Variables that decide where libpq connects to, or how.
_LIBPQ = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE"),
    *("PGSERVICEFILE", "PGSSLMODE", "PGOPTIONS"),
)


def reference_of(*values: object) -> str:
    """`package.module:NAME` of the first value that a module-level variable holds, in a module that can be imported.

    Raises `UsageError` if no variable holds any of them.
    """
    found = (reference for value in values for reference in _references(value))
    reference = next(found, None)
    if reference is None:
        raise UsageError(
            "Worker processes import the application, so `app(...)` must be a module-level variable. "
            "Write SHOP = app(...) in a file of the current folder."
        )
    return reference


def application(default: str | None = None) -> Any:
    """The application of this worker process: what `ENV_APPLICATION` names; raises what its import raises."""
    module, _, name = (default or os.environ[ENV_APPLICATION]).partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


def own_application() -> Any:
    """The object that runs the application of this worker process, without `app(...)` around it."""
    found = application()
    return getattr(found, "application", found)


NO_SERVERS = Endpoints(
    database_url="postgresql://harness@127.0.0.1:1/no_server", redis_url="redis://127.0.0.1:1/0"
)
"""Addresses at which nothing answers: an application that is imported before the servers of its run must reach none."""


@contextmanager
def on_servers(endpoints: Endpoints) -> Iterator[None]:
    """Let the variables of this process that lead to a server lead to these, in a `with` block."""
    names = _server_variables(endpoints)
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def environment_on(endpoints: Endpoints) -> dict[str, str]:
    """The environment of this process on the servers of a run.

    Every variable whose value is the URL of a Postgres or a Redis gets that of the run, and so does each that a `.env`
    file of the current folder would add; RabbitMQ too, if the run has it. libpq's own variables lead to the run's
    Postgres.
    """
    return {
        **{name: value for name, value in os.environ.items() if name not in _LIBPQ},
        **_libpq(endpoints.database_url),
        **_server_variables(endpoints),
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }


def _references(value: object) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        for attribute, one in list(getattr(module, "__dict__", {}).items()):
            if one is value and _is_importable(name):
                yield f"{name}:{attribute}"


def _is_importable(module: str) -> bool:
    try:
        return module != "__main__" and find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _server_variables(endpoints: Endpoints) -> dict[str, str]:
    """The variables of this process and of a `.env` file whose value is the URL of a server, with these servers.

    Those of the harness itself, `HARNESS_...`, stay as they are.
    """
    urls = {
        name: _on(endpoints, value)
        for name, value in {**_dotenv(), **os.environ}.items()
        if endpoints.url(_SERVICES.get(_scheme(value), "")) and not name.startswith("HARNESS_")
    }
    return {"DATABASE_URL": endpoints.database_url, "REDIS_URL": endpoints.redis_url, **urls}


def _dotenv() -> Mapping[str, str]:
    try:
        lines = Path(".env").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals}


def _scheme(value: str) -> str:
    """The scheme of a URL without the driver that SQLAlchemy names in it; empty for any other text."""
    scheme, separator, _ = value.partition("://")
    return scheme.lower().partition("+")[0] if separator else ""


def _on(endpoints: Endpoints, url: str) -> str:
    """The run's URL with the driver of this one."""
    scheme = url.partition("://")[0]
    mine = endpoints.url(_SERVICES[_scheme(url)])
    own, separator, rest = mine.partition("://")
    return f"{scheme if '+' in scheme else own}{separator}{rest}"


def _libpq(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    found = {
        "PGHOST": parts.hostname,
        "PGPORT": None if parts.port is None else str(parts.port),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
        "PGUSER": parts.username and unquote(parts.username),
        "PGPASSWORD": parts.password and unquote(parts.password),
    }
    return {name: value for name, value in found.items() if value}
