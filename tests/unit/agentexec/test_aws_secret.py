"""Settings from a secret of AWS Secrets Manager, which moto plays in this process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from agentexec import config
from agentexec.cli import main
from agentexec.config import load_settings
from agentexec.errors import ConfigurationError
from harness.environments.ports import free_port
from harness.masking import masked as masked_by_the_harness

NAME = "agentexec/production"
# "hush" is in each secret, and in no name.
WHOLE = {
    "DATABASE_URL": "postgresql://app:hush@db/app",
    "redis_url": "redis://:hush@redis",
    "AGENTEXEC_API_KEYS": "hush-hush-hush-hush",
    "AGENTEXEC_NUM_WORKERS": 3,
    "OPENAI_API_KEY": "hush",
}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Secrets Manager of this test, whose secret `NAME` the settings name."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AGENTEXEC_AWS_SECRET", NAME)
    config._aws_secret.cache_clear()
    with mock_aws():
        yield boto3.client("secretsmanager")
    config._aws_secret.cache_clear()


def refusal() -> str:
    """The sentence by which the settings are refused."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    # Else a traceback would show what led to it.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_secret_has_settings_under_their_variables(manager: Any) -> None:
    manager.create_secret(Name=NAME, SecretString=json.dumps(WHOLE))
    settings = load_settings()
    assert settings.database_url == WHOLE["DATABASE_URL"]
    assert settings.redis_url == WHOLE["redis_url"]
    assert settings.api_keys is not None
    assert settings.api_keys.get_secret_value() == WHOLE["AGENTEXEC_API_KEYS"]
    assert settings.num_workers == 3


def test_arguments_environment_and_file_win_over_the_secret(
    manager: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager.create_secret(Name=NAME, SecretString=json.dumps(WHOLE))
    monkeypatch.delenv("AGENTEXEC_AWS_SECRET")
    (tmp_path / ".env").write_text(f"AGENTEXEC_AWS_SECRET={NAME}\nAGENTEXEC_NUM_WORKERS=5\n")
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    settings = load_settings(api_keys="argument-argument")
    assert (settings.num_workers, settings.redis_url) == (5, "redis://environment")
    assert settings.api_keys is not None
    assert settings.api_keys.get_secret_value() == "argument-argument"
    assert settings.database_url == WHOLE["DATABASE_URL"]


def test_without_a_name_nothing_is_asked_for(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTEXEC_AWS_SECRET", "")
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert load_settings().database_url is None


def test_a_process_asks_once(manager: Any) -> None:
    manager.create_secret(Name=NAME, SecretString=json.dumps(WHOLE))
    load_settings()
    manager.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)
    assert load_settings().database_url == WHOLE["DATABASE_URL"]


@pytest.mark.parametrize(
    "secret", ["hush", '["hush"]', '"hush"', '{"DATABASE_URL": "hush', "[" * 100_000, b"hush"]
)
def test_a_secret_that_is_no_json_object_is_refused_without_a_part_of_it(
    manager: Any, secret: str | bytes
) -> None:
    kind = "SecretString" if isinstance(secret, str) else "SecretBinary"
    manager.create_secret(Name=NAME, **{kind: secret})
    assert refusal() == (
        f"The AWS secret '{NAME}' (AGENTEXEC_AWS_SECRET) is no JSON object; "
        'write it as {"DATABASE_URL": "...", "REDIS_URL": "..."}.'
    )


@pytest.mark.parametrize("value", [{"hush": 1}, ["hush"], 3])
def test_a_value_of_a_wrong_type_is_refused_by_its_name(manager: Any, value: object) -> None:
    manager.create_secret(Name=NAME, SecretString=json.dumps({"DATABASE_URL": value}))
    said = refusal()
    assert said.startswith("A setting is wrong: AGENTEXEC_DATABASE_URL Input should be a valid string.")
    assert said.endswith("or the AWS secret.")
    assert "hush" not in said


def test_a_prefix_of_the_tables_is_refused_since_they_are_named_before(manager: Any) -> None:
    manager.create_secret(Name=NAME, SecretString='{"AGENTEXEC_TABLE_PREFIX": "hush_"}')
    assert refusal().endswith("has AGENTEXEC_TABLE_PREFIX; it only counts in the environment.")


def test_an_unknown_name_is_one_sentence_with_the_remedy(manager: Any) -> None:
    assert refusal() == (
        f"The AWS secret '{NAME}' (AGENTEXEC_AWS_SECRET) cannot be read (An error occurred "
        "(ResourceNotFoundException) when calling the GetSecretValue operation: Secrets Manager can't find the "
        "specified secret.); correct the name, AWS_REGION, or the credentials and rights of this process."
    )


def test_a_service_that_is_not_there_is_one_sentence(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "cannot be read (Could not connect to the endpoint URL" in refusal()


def test_without_boto3_the_extra_is_named(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert refusal().endswith("needs boto3; `pip install agentexec-reference[aws]`.")


def test_no_secret_is_logged_at_any_level(manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, botocore logs each answer."""
    manager.create_secret(Name=NAME, SecretString=json.dumps(WHOLE))
    with caplog.at_level(logging.DEBUG):
        settings = load_settings()
    assert "hush" not in f"{caplog.text}{settings!r}"


def test_the_command_line_shows_no_secret(manager: Any, capsys: pytest.CaptureFixture[str]) -> None:
    manager.create_secret(Name=NAME, SecretString=json.dumps(WHOLE))
    assert main(["config"]) == 0
    shown = capsys.readouterr().out
    assert f"AGENTEXEC_AWS_SECRET={NAME}\n" in shown
    assert "AGENTEXEC_DATABASE_URL=postgresql://app:***@db/app\n" in shown
    assert "hush" not in shown


def test_the_harness_masks_what_a_secret_has(manager: Any) -> None:
    for text in (json.dumps(WHOLE), repr(WHOLE), json.dumps({"SecretString": json.dumps(WHOLE)})):
        assert "hush" not in masked_by_the_harness(text)
