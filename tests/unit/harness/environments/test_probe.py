"""Versions as servers write them, ports, and the wait for an answer."""

from __future__ import annotations

import socket

import pytest

from harness.environments import ports, probe
from harness.environments.base import Service
from harness.errors import EnvironmentUnavailable


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("18.6", (18, 6)),
        ("15.20 (Debian 15.20-0+deb12u1)", (15, 20)),
        ("19beta1", (19, 0)),
        ("19devel", (19, 0)),
        ("7.0.15", (7, 0)),
        ("8.0.2", (8, 0)),
        ("255.255.255", (255, 255)),
    ],
)
def test_a_version_is_read_as_servers_write_it(text: str, version: tuple[int, int]) -> None:
    assert probe.parse_version(text) == version


def test_a_text_without_a_number_is_no_version() -> None:
    with pytest.raises(ValueError, match="no version"):
        probe.parse_version("unknown")


@pytest.mark.parametrize(
    ("service", "version", "enough"),
    [
        ("postgres", "13.22", False),
        ("postgres", "14.0", True),
        ("postgres", "9.6.24", False),
        ("redis", "6.2.14", False),
        ("redis", "7.0.0", True),
        ("redis", "10.0.0", True),
    ],
)
def test_the_oldest_version_that_is_supported_is_exact(service: Service, version: str, enough: bool) -> None:
    if enough:
        probe.require_supported(service, version, version)
        return
    with pytest.raises(EnvironmentUnavailable, match="is too old: at least"):
        probe.require_supported(service, version, version)


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_missing_server_does_not_answer_and_no_secret_is_shown(scheme: str) -> None:
    service: Service = "postgres" if scheme == "postgresql" else "redis"
    with pytest.raises(probe.NotAnswering) as raised:
        probe.ask(service, f"{scheme}://me:secret@127.0.0.1:{ports.free_port()}/0", timeout=1)
    assert "secret" not in str(raised.value)


def test_the_wait_for_an_answer_ends_in_time_with_the_reason() -> None:
    url = f"redis://127.0.0.1:{ports.free_port()}/0"
    with pytest.raises(EnvironmentUnavailable, match=r"does not answer after 0 s: .*refused"):
        probe.wait_until_answers("redis", url, patience=0.2, check=lambda: None)


def test_the_wait_for_an_answer_ends_when_the_server_has() -> None:
    def check() -> None:
        raise EnvironmentUnavailable("it is gone")

    with pytest.raises(EnvironmentUnavailable, match="it is gone"):
        probe.wait_until_answers(
            "redis", f"redis://127.0.0.1:{ports.free_port()}/0", patience=30, check=check
        )


def test_a_free_port_can_be_bound_and_is_none_that_clients_are_given() -> None:
    port = ports.free_port()
    assert 15_000 <= port < 32_000
    assert ports.is_free(port)


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        assert not ports.is_free(holder.getsockname()[1])
