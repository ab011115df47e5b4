"""Removes passwords from text: nothing that the harness prints, logs or reports may contain one.

A password may itself contain `@`, `/`, `:` or a quote, so everything up to the last `@` of a word is masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*://)(?P<user>[^\s:/?#@]*):(?:(?!://)\S)+@", re.IGNORECASE)
_AS_KEYWORD = re.compile(
    r"(?P<key>\b(?:[a-z_]*password|passwd|pgpassword|pwd|sslpassword|secret)\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,\"'<>]+)",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with the password of every URL and of every `password=...` replaced by `***`."""
    text = _IN_URL.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
    return _AS_KEYWORD.sub(rf"\g<key>{MASK}", text)


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
