"""No password leaves the harness, however it is written."""

import time
import unicodedata

import pytest

from harness.masking import masked, masked_json, one_line, terminal_safe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://ax:s3cret@127.0.0.1:5432/db", "postgresql+psycopg://ax:***@127.0.0.1:5432/db"),
        ("redis://:s3cret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("cannot reach redis://u:s3@c/re:t@h:1/0, retry", "cannot reach redis://u:***@h:1/0, retry"),
        ("a=postgresql://a:s3cret@h b=REDIS://b:s3cret@h", "a=postgresql://a:***@h b=REDIS://b:***@h"),
        ("('redis://u:s3'c\"ret@h:1/0')", "('redis://u:***@h:1/0')"),
        ("host=h password=s3cret user=u", "host=h password=*** user=u"),
        ("host=h password='s3 cret' user=u", "host=h password=*** user=u"),
        ("postgresql://h/db?user=u&password=s3cret&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("AWS_SECRET_ACCESS_KEY=s3cret", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"API_KEYS": "s3,cret", "a": "b"}', '{"API_KEYS": ***, "a": "b"}'),
        ("{'SecretString': '{\"REDIS_URL\": \"s3cret\"}'}", "{'SecretString': ***}"),
    ],
)
def test_a_password_is_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "redis://127.0.0.1:6379/0",
        "postgresql://ax@127.0.0.1/db",
        "task 7: lost",
        "fencing token: 1764177893123",
        "see https://example.org/a?b=c",
    ],
)
def test_text_without_a_password_is_left_alone(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@corp:s3cret@h/d",
        "postgresql://a/b:s3cret@h/d",
        "redis://:s3cret://more@h/0",
        "url=redis://h/0,redis://u:s3cret@h/0",
        '{"a":"redis://h/0","b":"redis://u:s3cret@h/0"}',
        "postgresql://h/d?user=u&password=s3,cret;s3'cret",
        "postgresql://h/d?sslpassword=s3<cret&x=1",
    ],
)
def test_no_part_of_a_password_stays_wherever_special_characters_are(text: str) -> None:
    assert "s3" not in masked(text)
    assert "cret" not in masked(text)


@pytest.mark.parametrize("part", ["a://b:", "://", "a:", "a://b@", "password", "?password=", "@"])
def test_masking_takes_linear_time(part: str) -> None:
    began = time.process_time()
    masked(part * 200_000)
    assert time.process_time() - began < 10.0, "a pattern that backtracks takes hours"


def test_every_string_of_a_json_value_is_masked_keys_included() -> None:
    value = {"redis://:s3cret@h": [1, None, {"url": ("redis://:s3cret@h", True)}], "set": {"b", "a"}}
    assert masked_json(value) == {
        "redis://:***@h": [1, None, {"url": ["redis://:***@h", True]}],
        "set": ["a", "b"],
    }


def test_a_value_that_json_does_not_know_becomes_a_masked_string() -> None:
    assert masked_json({"error": ValueError("redis://:s3cret@h is down")}) == {
        "error": "redis://:***@h is down"
    }


FOREIGN = "\x1b[2J\x1b]0;title\x07evil\r\x9b31m \u202egnp.exe\u2066 \x00 next\nline\tend"


def test_foreign_text_cannot_control_a_terminal() -> None:
    safe = terminal_safe(FOREIGN)
    assert not [one for one in safe if one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cf")]
    assert one_line(FOREIGN).endswith("� next line end")
    assert "\n" not in one_line(FOREIGN)
    assert one_line("redis://:hunter2@host") == "redis://:***@host"


def test_ordinary_text_of_any_language_stays() -> None:
    assert terminal_safe("größer\n\t日本語 🙂 ẞ") == "größer\n\t日本語 🙂 ẞ"
