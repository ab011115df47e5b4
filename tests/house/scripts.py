"""What the comment at the top of a Lua script has to name."""

from __future__ import annotations

import re
from itertools import takewhile


def header_lacks(script: str) -> list[str]:
    """The words among KEYS, ARGV and returns that the comment at the top of a Lua script does not contain."""
    header = "\n".join(takewhile(lambda line: line.startswith("--"), script.splitlines()))
    return [
        word for word in ("KEYS", "ARGV", "returns") if not re.search(rf"\b{word}\b", header, _case(word))
    ]


def _case(word: str) -> re.RegexFlag:
    return re.IGNORECASE if word == "returns" else re.NOFLAG
