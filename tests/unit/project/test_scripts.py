"""Every Lua script is headed by its keys, arguments and returns."""

import pytest

from tests.house.scripts import header_lacks
from tests.house.sources import sources


def test_every_script_is_headed_by_its_keys_arguments_and_returns() -> None:
    lacking = {path: header_lacks(text) for path, text in sources(".lua").items()}
    assert {script: words for script, words in lacking.items() if words} == {}


@pytest.mark.parametrize(
    ("script", "lacks"),
    [
        ("-- KEYS[1] queue\n-- ARGV[1] id\n-- Returns: 1\nreturn 1", []),
        ("-- KEYS[1] queue\nlocal id = ARGV[1] -- returns nothing\n", ["ARGV", "returns"]),
        ("return 1", ["KEYS", "ARGV", "returns"]),
    ],
)
def test_the_rule_for_script_headers_on_examples(script: str, lacks: list[str]) -> None:
    assert header_lacks(script) == lacks
