"""Masking of secrets: no log line, error message or HTTP response of agentexec contains a password.

It masks too much rather than too little. A password may contain `@`, `/`, `:` or a quote, so everything up to the
last `@` of a word counts as password. The time is linear in the length of the text.
"""

from __future__ import annotations

import re

MASK = "***"

_WORD = re.compile(r"\S+")
_NO_USER = re.compile(r"[/?#]")
_AS_KEYWORD = re.compile(
    r"(?P<key>\b\w*(?:password|passwd|pwd|secret|api_?keys?)['\"]?\s*[=:]\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;\"'<>]+)",
    re.IGNORECASE,
)
_AS_BEARER = re.compile(r"(?P<key>\bBearer\s+)[A-Za-z0-9._~+/=\-]{8,}", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with `***` in place of passwords in URLs, of `password=...` and of bearer keys."""
    if "://" in text and "@" in text:  # first: a password may contain a keyword
        text = _WORD.sub(_masked_word, text)
    text = _AS_KEYWORD.sub(rf"\g<key>{MASK}", text)
    return _AS_BEARER.sub(rf"\g<key>{MASK}", text)


def _masked_word(match: re.Match[str]) -> str:
    """A word with the password of its first URL that has one masked."""
    word = match.group()
    last_at = word.rfind("@")
    start = word.find("://")
    while 0 <= start < last_at:
        user = start + 3
        colon = word.find(":", user, last_at)
        if colon < 0:
            break
        if not _NO_USER.search(word, user, colon):
            return f"{word[: colon + 1]}{MASK}{word[last_at:]}"
        start = word.find("://", user)
    return word
