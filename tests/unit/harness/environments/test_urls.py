"""No part of a password is printed, whatever is wrong with the URL that contains it."""

from __future__ import annotations

import pytest

from harness import cli
from harness.environments.urls import checked_url, database_name
from harness.errors import UsageError

PASSWORDS = {
    "a slash": "hunter2/sesame",
    "an at sign": "hunter2@sesame",
    "both": "hunter2@se/sesame",
    "both, the other way": "hunter2/se@sesame",
    "a question mark": "hunter2?sesame",
    "a query": "hunter2?sesame=1",
    "a hash": "hunter2#sesame",
    "a space": "hunter2 sesame",
    "a tab": "hunter2\tsesame",
    "a newline": "hunter2\nsesame",
    "a percent sign": "hunter2%sesame",
    "a percent sign at the end": "hunter2sesame%",
    "a null byte": "hunter2%00sesame",
    "a bracket": "[hunter2]sesame",
    "an open bracket": "[hunter2sesame",
    "a character that becomes a slash": "hunter2\u2100sesame",
    "another scheme": "hunter2://sesame",
    "only digits before a slash": "54321/hunter2sesame",
}
GOOD = "postgresql://me:x@127.0.0.1:1/app"


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS.keys())
@pytest.mark.parametrize("how", ["option", "one word", "variable"])
@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_a_special_character_in_a_password_is_refused_and_no_part_of_it_is_printed(
    password: str, how: str, service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = f"{'postgresql' if service == 'postgres' else 'redis'}://me:{password}@127.0.0.1:1/app"
    urls = {"database-url": GOOD, "redis-url": "redis://127.0.0.1:1/0"}
    name = "database-url" if service == "postgres" else "redis-url"
    words = [word for other, url in urls.items() if other != name for word in (f"--{other}", url)]
    if how == "variable":
        if "\0" in bad:
            pytest.skip("no variable can contain it")
        monkeypatch.setenv(f"HARNESS_{name.replace('-', '_').upper()}", bad)
    else:
        words += [f"--{name}", bad] if how == "option" else [f"--{name}={bad}"]
    assert cli.main(["chaos", "run", "kill-pool", "--debug", "--backend", "external", *words]) == 64
    said = capsys.readouterr()
    assert f"--{name} is no {service} URL: " in said.err
    for part in ("hunter2", "sesame", "54321"):
        assert part not in said.out + said.err


@pytest.mark.parametrize(
    "words",
    [
        ["kill-pool", "--database-url", "postgresql://me:hunter2", "sesame@127.0.0.1/app"],
        ["--database-url=postgresql://me:hunter2", "big", "sesame@127.0.0.1/app", "kill-pool"],
        ["kill-pool", "--database-ulr", "postgresql://me:hunter2/sesame@127.0.0.1/app"],
        ["kill-pool", "--backend", "postgresql://me@corp:hunter2@sesame@127.0.0.1/app"],
        ["postgresql://me/corp:hunter2://sesame@127.0.0.1/app"],
        ["kill-pool", "--seed", "postgresql://127.0.0.1/app?user=me&password=hunter2,sesame;1'2"],
    ],
)
def test_a_url_in_the_wrong_place_is_printed_without_its_password(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["chaos", "run", *words]) == 64
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ("postgres", "postgresql+psycopg://me:a%2Fb%40c%25%20d:e@127.0.0.1:5432/app?sslmode=require"),
        ("postgres", "postgresql://127.0.0.1/app?user=me@corp&password=a%20b"),
        ("postgres", "postgresql:///app?host=/run/postgresql"),
        ("redis", "redis://:a!$&'()*+,;=~c@[::1]:6379/0"),
        ("redis", "unix:///run/redis.sock?db=1"),
        ("redis", "rediss://127.0.0.1"),
    ],
)
def test_a_url_that_every_library_reads_the_same_way_is_used_as_it_is(service: str, url: str) -> None:
    assert checked_url(service, url, option="--url") == url


def test_the_database_is_that_of_the_path() -> None:
    assert database_name("postgresql://me:a%2Fb@h/st%20aging?x=1") == "st aging"


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "postgresql:me@h/d", "mysql://h/d", "postgresql://", "postgresql://h:x/d"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--url is no postgres URL"):
        checked_url("postgres", url, option="--url")
