"""Choosing a backend and its options: errors are raised before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments import BACKENDS, make_environment
from harness.environments.urls import plain_url
from harness.errors import UsageError
from harness.masking import masked

URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://:p@h/0"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_is_made_by_its_name(backend: str) -> None:
    assert make_environment(backend, **(URLS if backend == "external" else {})).name == backend  # type: ignore[arg-type]


def test_an_unknown_backend_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match=r"'podman'.*embedded, containers, external"):
        make_environment("podman")


@pytest.mark.parametrize(
    ("backend", "option", "owner"),
    [
        ("embedded", {"postgres_image": "postgres:18"}, "containers"),
        ("embedded", {"redis_url": "redis://h"}, "external"),
        ("containers", {"postgres_bin": Path("/usr/bin")}, "embedded"),
        ("external", {"redis_image": "redis:8"}, "containers"),
    ],
)
def test_an_option_of_another_backend_is_refused(backend: str, option: dict[str, str], owner: str) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} belongs to the {owner} backend"):
        make_environment(backend, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", URLS)
def test_external_needs_both_urls(missing: str) -> None:
    with pytest.raises(UsageError, match="needs both"):
        make_environment("external", **{name: url for name, url in URLS.items() if name != missing})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "url"),
    [
        ("database_url", "mysql://u:secret@h/d"),
        ("database_url", "postgresql://u:secret@h:port/d"),
        ("database_url", "postgresql://"),
        ("redis_url", "redis://:secret@h:99999999/0"),
        ("redis_url", "h:6379"),
        ("redis_url", "http://[::1"),
    ],
)
def test_what_is_no_url_is_refused_without_its_password(option: str, url: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is no ") as raised:
        make_environment("external", **{**URLS, option: url})  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)


def test_masking_is_at_hand() -> None:
    assert masked(URLS["database_url"]) == "postgresql://u:***@h/d"


def test_the_driver_is_taken_out_of_a_url() -> None:
    assert plain_url("postgresql+psycopg://u:p+q@h/d") == "postgresql://u:p+q@h/d"
    assert plain_url("redis://h/0") == "redis://h/0"
    assert plain_url("redis+sentinel://:p@h/name/0") == "redis+sentinel://:p@h/name/0"
