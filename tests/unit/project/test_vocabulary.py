"""The vocabulary check of the lint session: its pattern finds every word and phrase of its dictionary."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def configuration() -> dict[str, str]:
    """The section of .codespell-vocabulary.cfg."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / ".codespell-vocabulary.cfg", "utf-8")
    return dict(parser["codespell"])


def words(text: str) -> list[str]:
    """The words of a text that codespell looks up in the dictionary."""
    found = re.findall(configuration()["regex"], re.sub(configuration()["ignore-regex"], " ", text))
    return [word.lower() for word in found]


def test_every_entry_of_the_dictionary_is_found_in_prose() -> None:
    lines = (ROOT / configuration()["dictionary"]).read_text("utf-8").splitlines()
    entries = [line.split("->")[0] for line in lines]
    assert entries == sorted(set(entries))
    assert [entry for entry in entries if entry not in words(f"A {entry}.")] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("HealerThread", "healer"),
        ("HEALER_SECONDS", "healer"),
        ("self._healer", "healer"),
        ("def _bear_witness(self)", "bear_witness"),
        ("Last words of a worker", "last words"),
        ("test_the_last_words_of_a_worker", "last_words"),
    ],
)
def test_a_word_is_found_inside_an_identifier(text: str, found: str) -> None:
    assert found in words(text)


@pytest.mark.parametrize("text", ["asyncio.CancelledError", "future.cancelled()", "task.cancelling()"])
def test_a_name_of_asyncio_is_no_word_of_the_project(text: str) -> None:
    assert {"cancelled", "cancelling"}.isdisjoint(words(text))
