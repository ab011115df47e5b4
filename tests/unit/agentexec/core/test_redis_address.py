"""Accepted values of REDIS_URL: one server, TLS, or a master found through Sentinels."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentexec.config import load_settings
from agentexec.core.redis_address import SentinelAddress, parse_address
from agentexec.core.redis_client import blocking_client
from agentexec.errors import ConfigurationError
from agentexec.masking import masked

GUIDE = "redis+sentinel://:password@sentinel1:26379,sentinel2:26379/mymaster/0"


def sentinels(url: str) -> SentinelAddress:
    address = parse_address(url)
    assert isinstance(address, SentinelAddress)
    return address


def test_the_url_of_the_guide_names_sentinels_master_password_and_database() -> None:
    address = sentinels(GUIDE)
    assert address.sentinels == (("sentinel1", 26379), ("sentinel2", 26379))
    assert address.service == "mymaster"
    assert address.master == {"password": "password", "db": 0}
    assert address.sentinel == {}, "the password is the server's, not the Sentinels'"


def test_sentinels_may_have_an_account_of_their_own() -> None:
    address = sentinels("redis+sentinel://u:p%40w@h/m/2?sentinel_password=s%2Fp&sentinel_username=su")
    assert address.sentinels == (("h", 26379),)
    assert address.master == {"username": "u", "password": "p@w", "db": 2}
    assert address.sentinel == {"username": "su", "password": "s/p"}


def test_the_database_may_be_left_out_and_a_host_may_be_an_ipv6_address() -> None:
    address = sentinels("redis+sentinel://[::1]:5000,[fe80::2],10.0.0.1/m")
    assert address.sentinels == (("::1", 5000), ("fe80::2", 26379), ("10.0.0.1", 26379))
    assert address.master == {"db": 0}


def test_tls_is_for_the_sentinels_and_the_master(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    address = sentinels(f"rediss+sentinel://:pw@h/m/0?ssl_ca_certs={authority}&ssl_check_hostname=false")
    tls = {"ssl": True, "ssl_ca_certs": str(authority), "ssl_check_hostname": False}
    assert address.master == {"password": "pw", "db": 0, **tls}
    assert address.sentinel == tls


@pytest.mark.parametrize("url", ["redis://:pw@h:6379/0", "rediss://h", "unix:///run/redis.sock"])
def test_one_server_is_left_to_the_client(url: str) -> None:
    assert parse_address(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://:secret@h:26379", "lacks the name of the master"),
        ("redis+sentinel://:secret@h:26379/", "lacks the name of the master"),
        ("redis+sentinel://:secret@h:26379/m/zero", "is not a number"),
        ("redis+sentinel://:secret@h:x/m/0", "the port of a Sentinel"),
        ("redis+sentinel://:secret@h:99999/m/0", "the port of a Sentinel"),
        ("redis+sentinel://:secret@h,/m/0", "lacks its host"),
        ("redis+sentinel://:secret@/m/0", "lacks its host"),
        ("redis+sentinel://:secret@h/m/0?socket_timeout=soon", "cannot be used; it looks like"),
        ("rediss://:secret@h/0?ssl_ca_certs=/nowhere/ca.pem", "there is no ssl_ca_certs /nowhere/ca.pem"),
        ("rediss+sentinel://:secret@h/m/0?ssl_ca_certs=/nowhere/ca.pem", "there is no ssl_ca_certs"),
        ("http://:secret@h/0", "cannot be used; it looks like"),
        ("redis://:secret@h:port/0", "cannot be used; it looks like"),
        ("redis://:secret/pw@h/0", "cannot be used; it looks like"),
        (
            "redis://:secret@h/0?ssl_ca_certs=/",
            "does not take all of its options: db, host, password, ssl_ca_certs",
        ),
        ("unix://:secret@/s.sock?socket_keepalive=1", "does not take all of its options"),
        ("rediss://:secret@h/0?ssl_cert_reqs=maybe", "redis-py refuses an option"),
        ("redis://:secret@h/0?protocol=4", "redis-py refuses an option"),
        ("redis://:secret@h/0?cache_size=4", "unknown option cache_size; leave it out"),
        ("redis://:half@x?secret=1@h/0", "unknown option; leave it out"),
    ],
)
def test_a_bad_url_is_refused_in_one_sentence_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL ") as refused:
        blocking_client(load_settings(redis_url=url))
    message = str(refused.value)
    assert why in message
    assert "it looks like redis" in message
    assert "secret" not in message
    assert "\n" not in message


def test_no_password_of_a_sentinel_url_is_ever_shown() -> None:
    url = "redis+sentinel://:first@h1:26379,h2:26379/m/0?sentinel_password=second"
    assert masked(url) == "redis+sentinel://:***@h1:26379,h2:26379/m/0?sentinel_password=***"


@pytest.mark.parametrize(
    "scheme", ["redis://:secret@h/0", "redis+sentinel://:secret@h/m/0", "unix:///s.sock"]
)
@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("decode_responses=True", "leave it out"),
        ("decode_responses=false", "leave it out"),  # redis-py takes the text as true
        ("encoding=latin-1", "leave it out"),
        ("encoding_errors=replace", "leave it out"),
        ("legacy_responses=false", "leave it out"),
        ("max_connections=4", "set REDIS_POOL_SIZE instead"),
        ("socket_timeout=0.1", "set REDIS_POOL_TIMEOUT instead"),
        ("socket_connect_timeout=0.1", "set REDIS_POOL_TIMEOUT instead"),
        ("timeout=3", "set REDIS_POOL_TIMEOUT instead"),
        ("retry_on_timeout=true", "leave it out"),
        ("retry_on_error=x", "leave it out"),
    ],
)
def test_an_option_that_breaks_or_overrides_agentexec_is_refused_by_name(
    scheme: str, option: str, instead: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        blocking_client(load_settings(redis_url=f"{scheme}?{option}"))
    assert f"its option {option.partition('=')[0]} is not supported; {instead}" in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        "client_name=me",
        "health_check_interval=5",
        "protocol=2",
        "socket_keepalive=1",
        "socket_read_size=4096",
    ],
)
def test_other_options_are_those_of_redis_py(options: str) -> None:
    url = f"redis://h/0?{options}"
    assert parse_address(url) == url
