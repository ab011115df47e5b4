"""Makes text fit to be shown: nothing that the harness prints, logs or reports may contain a password.

A password may itself contain `@`, `/`, `:` or a quote, and so may a name, so everything between the first `:` after
`://` and the last `@` of a word is masked. Foreign text (of a target, its logs, a
history) may also contain control characters, which a terminal would carry out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"

_WORD = re.compile(r"\S+")
_NO_USER = re.compile(r"[\"'<>]")
# A name before its value, also in JSON. No word for a token: a fencing token is none of a secret.
_KEY = r"\b(?:[a-z_]*(?:password|secret(?:string)?|api_?keys?|access_?key)|passwd|pwd)\\*['\"]?\s*[=:]\s*"
_AS_KEYWORD = re.compile(
    rf"(?P<key>[?&]{_KEY})[^\s&]+|(?P<word>{_KEY})"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,\"'<>]+)",
    re.IGNORECASE,
)

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")

# Characters that change the direction of the text after them, and so what a reader sees of a line.
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with every character that XML 1.0 forbids or discourages replaced by U+FFFD."""
    return _CONTROL.sub("�", text)


def terminal_safe(text: str) -> str:
    """Foreign text for a terminal or a log: no password, and no control character but the end of a line and a tab."""
    return _DIRECTION.sub("�", printable(masked("\n".join(text.splitlines()))))


def one_line(text: object) -> str:
    """As `terminal_safe`, in one line."""
    return " ".join(terminal_safe(str(text)).split())


def masked(text: str) -> str:
    """The text with `***` in place of the password of each URL and of the value of each `password=`, `api_key:` ..."""
    if "://" in text and "@" in text:
        text = _WORD.sub(_masked_word, text)
    return _AS_KEYWORD.sub(lambda found: f"{found['key'] or found['word']}{MASK}", text)


def _masked_word(found: re.Match[str]) -> str:
    """The word without the password of its first URL that has one. The time is linear: no pattern backtracks."""
    word = found.group()
    last_at, start = word.rfind("@"), word.find("://")
    while 0 <= start < last_at:
        colon = word.find(":", start + 3, last_at)
        if colon < 0:
            break
        if not _NO_USER.search(word, start + 3, colon):
            return f"{word[: colon + 1]}{MASK}{word[last_at:]}"
        start = word.find("://", start + 3)
    return word


def masked_words(text: str, words: Sequence[str]) -> str:
    """The text without the parts of a password that the words of a command line contain.

    A shell splits a URL at an unquoted space of its password: the words up to the one with the `@` are secret.
    """
    inside = False
    for word in words:
        if "://" in word and "@" not in word:
            inside = True
        elif inside and word.startswith("--"):
            inside = False
        elif inside:
            secret, at, _ = word.rpartition("@")
            text = re.sub(rf"(?<!\w){re.escape(secret if at else word)}(?!\w)", MASK, text) if word else text
            inside = not at
    return masked(text)


def masked_json(value: Any) -> Any:
    """A JSON value with every string and key masked; other types become strings."""
    match value:
        case str():
            return masked(str(value))
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {masked(str(key)): masked_json(item) for key, item in value.items()}
        case list() | tuple():
            return [masked_json(item) for item in value]
        case set() | frozenset():
            return sorted((masked_json(item) for item in value), key=str)
        case _:
            return masked(str(value))
