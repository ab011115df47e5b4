"""Servers that a machine may not have: Debian's Redis 7 and Postgres 15, and the programs they need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.environments import make_environment
from harness.environments.base import Environment
from harness.environments.embedded import EmbeddedEnvironment

REDIS7 = Path("/usr/bin/redis-server")  # 7.0 in Debian 12 and Ubuntu 24.04
OPENSSL = Path("/usr/bin/openssl")
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")  # in Debian 12


def redis7_binary() -> Path:
    """The installed redis-server; skips the test where there is none, and fails it where there has to be one."""
    return _installed(REDIS7, package="redis-server")


def openssl_binary() -> Path:
    """The installed openssl, under the same rule: it makes the certificates for Redis with TLS."""
    return _installed(OPENSSL, package="openssl")


def _installed(program: Path, *, package: str) -> Path:
    if not program.exists():
        message = f"there is no {program}; install Debian's package {package}"
        if os.environ.get("HARNESS_EXPECT_REDIS7"):
            pytest.fail(message)
        pytest.skip(message)
    return program


@contextmanager
def required_redis7() -> Iterator[Environment]:
    """The embedded environment with the installed redis-server."""
    environment = make_environment("embedded", redis_server=redis7_binary())
    environment.start()
    try:
        yield environment
    finally:
        environment.stop()


@contextmanager
def required_postgres_15() -> Iterator[Environment]:
    """The embedded environment with the installed Postgres 15."""
    require_package("postgresql-15", installed=(POSTGRES_15 / "postgres").exists())
    with EmbeddedEnvironment(postgres_bin=POSTGRES_15) as environment:
        yield environment


def require_package(package: str, *, installed: bool) -> None:
    """Skips the test where a package is not installed; fails it where EXPECT_INSTALLED lists it, with commas."""
    if installed:
        return
    message = f"{package} is not installed; `apt-get install {package}` brings it"
    if package in os.environ.get("EXPECT_INSTALLED", "").split(","):
        pytest.fail(message)
    pytest.skip(message)


def make_public(folder: Path) -> None:
    """Let every user read the files of a folder and run its programs, whatever the umask was when they were written."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
