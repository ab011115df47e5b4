"""No password leaves the harness, however it is written."""

import pytest

from harness.masking import masked, masked_json


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
        "see https://example.org/a?b=c",
    ],
)
def test_text_without_a_password_is_left_alone(text: str) -> None:
    assert masked(text) == text


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
