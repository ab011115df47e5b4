from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from agentexec.config import DEFAULT_PREFIX, Settings, load_settings, normalised_database_url, table_prefix
from agentexec.core.redis_client import blocking_client
from agentexec.errors import ConfigurationError
from agentexec.masking import masked


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test alone: no variable, and no .env file of the folder that tests run in."""
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names = [alias] if isinstance(alias, str) else [*getattr(alias, "choices", ())]
        for name in names:
            monkeypatch.delenv(str(name), raising=False)


def test_arguments_win_over_the_environment_and_it_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("AGENTEXEC_NUM_WORKERS=2\nAGENTEXEC_WORKER_CONCURRENCY=3\nOTHER=x\n")
    monkeypatch.setenv("AGENTEXEC_WORKER_CONCURRENCY", "5")
    settings = load_settings()
    assert (settings.num_workers, settings.worker_concurrency) == (2, 5)
    assert load_settings(worker_concurrency=7, num_workers=None).worker_concurrency == 7


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTEXEC_NUM_WORKERS", "many")
    monkeypatch.setenv("AGENTEXEC_LEASE_SECONDS", "0")
    monkeypatch.setenv("AGENTEXEC_TABLE_PREFIX", "drop table;")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(queue_name="with space")
    for name in ("NUM_WORKERS", "LEASE_SECONDS", "TABLE_PREFIX", "queue_name"):
        assert name in str(caught.value)


@pytest.mark.parametrize("template", ["{", "{task}", "{0}", "{error.nothing}"])
def test_an_error_message_that_cannot_be_filled_in_is_refused_at_the_start(template: str) -> None:
    """Found out later, it would end the worker at the first task that fails."""
    with pytest.raises(ConfigurationError, match="activity_message_error"):
        load_settings(activity_message_error=template)


def test_an_error_message_may_leave_the_error_out() -> None:
    assert load_settings(activity_message_error="It failed.").activity_message_error == "It failed."


def test_missing_urls_are_asked_for_by_name() -> None:
    settings = load_settings()
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        settings.require_database_url()
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        settings.require_redis_url()


def test_settings_do_not_show_their_secrets() -> None:
    settings = load_settings(database_url="postgresql://u:hush@h/d", redis_url="redis://:hush@h")
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p%40x@h:5433/d", "postgresql+psycopg://u:p%40x@h:5433/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("sqlite+aiosqlite:///file.db", "sqlite:///file.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_database_url_is_used_through_our_own_driver(given: str, used: str) -> None:
    assert normalised_database_url(given) == used


@pytest.mark.parametrize(
    "url", ["mysql://u:hush@h/d", "hush", "", "postgresql://u:hush@h:port/d", "://hush", "redis://:hush@h"]
)
def test_another_kind_of_database_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        normalised_database_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://:hush@h", "redis://:hush/more@h:1/0", "redis://:hush@h:port", "hush@h", "redis://h:hush"]
)
def test_a_redis_url_that_cannot_be_used_is_refused_without_its_secret(url: str) -> None:
    settings = load_settings(redis_url=url)
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        blocking_client(settings)
    if ":hush@" in url or ":hush/" in url:
        assert "hus" not in str(caught.value).replace("://:***", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hush@host/d",
        "redis://:hush@host",
        "redis://:hu@sh@host",
        "redis://:hu:sh@host:6379/0",
        "postgresql://user:hu/sh@host/d",
        "cannot reach redis://:hush@host, nor postgresql://user:hush@other",
    ],
)
def test_no_part_of_a_password_is_shown(url: str) -> None:
    shown = masked(url)
    assert "hu" not in shown
    assert "sh@" not in shown
    assert "***@" in shown


@pytest.mark.parametrize("url", ["sqlite:///file.db", "redis://host:6379/0", "user@host: no"])
def test_what_holds_no_password_is_shown_as_it_is(url: str) -> None:
    assert masked(url) == url


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("ssl=require", "sslmode=require"),
        ("ssl=true", "sslmode=require"),
        ("ssl=verify-full&sslrootcert=/ca.pem", "sslmode=verify-full&sslrootcert=/ca.pem"),
        ("sslmode=require&ssl=false", "sslmode=require"),
        ("timeout=2.5", "connect_timeout=3"),
        ("prepared_statement_cache_size=0&statement_cache_size=0", ""),
        ("sslmode=require&application_name=mine", "application_name=mine&sslmode=require"),
        ("target_session_attrs=any&options=-cx%3Dy", "options=-cx%3Dy&target_session_attrs=any"),
        ("host=h1:5432&host=h2:5432", "host=h1:5432&host=h2:5432"),
        ("user=u&password=p", "password=p&user=u"),
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_options_of_other_drivers_are_translated(scheme: str, given: str, used: str) -> None:
    base = make_url(normalised_database_url(f"{scheme}://u:p@h/d?{given}"))
    assert base == make_url(f"postgresql+psycopg://u:p@h/d{'?' if used else ''}{used}")


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("command_timeout=5", "set AGENTEXEC_DATABASE_TIMEOUT instead"),
        ("server_settings=x", "write options=-c%20name=value instead"),
        ("currentSchema=x", "write options=-c%20search_path=name instead"),
        ("prepare_threshold=0", "leave it out"),
        ("async_fallback=true", "leave it out"),
        ("pgbouncer=true", "leave it out"),
        ("timeout=soon", "write connect_timeout=10"),
    ],
)
def test_an_option_without_translation_is_refused_by_name(option: str, instead: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        normalised_database_url(f"postgresql+asyncpg://u:secret@h/d?{option}")
    message = str(refused.value)
    assert option.partition("=")[0] in message
    assert instead in message
    assert "secret" not in message
    assert "\n" not in message


def test_a_part_of_a_password_is_no_name_of_an_option() -> None:
    with pytest.raises(ConfigurationError) as refused:
        normalised_database_url("postgresql://u:half@x/d?secret=1@h/d")
    assert "secret" not in str(refused.value)


def test_an_env_file_that_cannot_be_read_is_one_sentence_and_fails_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes("AGENTEXEC_TABLE_PREFIX=été_".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    assert table_prefix() == DEFAULT_PREFIX
    with pytest.raises(ConfigurationError, match=r"The \.env file cannot be read \(UnicodeDecodeError\)"):
        load_settings()
