"""Masking of secrets: no log line, error message or HTTP response of agentexec contains a password.

It masks too much rather than too little. A password may contain `@`, `/`, `:` or a quote, so everything up to the
last `@` of a word counts as password. The time is linear in the length of the text: no pattern backtracks.
"""

from __future__ import annotations

import re

MASK = "***"

_WORD = re.compile(r"\S+")
_NO_USER = re.compile(r"[/?#]")
# A name before its value: name=value, name: value, name => value, "name": "value", \"name\": ..., --name value.
_NAME = re.compile(
    r"(?<![\w.\-])(?:(?P<name>[\w.\-]++)\\*+['\"]?\s*+(?:[=:]>?|->)\s*+|(?P<flag>--[\w\-]++)['\"]?,?[ \t]++)"
)
# Also several words in quotes, and the rest of the line after a quote that does not end.
_VALUE = re.compile(
    r"b?'(?:[^'\\]|\\.)*+'|b?\"(?:[^\"\\]|\\.)*+\"|\\++['\"][^'\"\\]*+|b?['\"][^\n]*+|[^\s&;\"'<>]++"
)
_SECRET_NAME = re.compile(
    r"passw|passphrase|passcode|pwd|secret|credential"
    r"|(?:api|access|private|auth|signing|encryption|master)[_.\-]?key|token$",
    re.IGNORECASE,
)
# One of them is in every such name. To look for them takes a twentieth of the time that `_NAME` takes.
_IN_SECRET_NAMES = ("pass", "pwd", "secret", "credential", "key", "token")
# A number is no token, but a count of tokens or a fencing token, unless it is long.
_NO_TOKEN = re.compile(r"[('\"\\]*+\d{0,15}[\w)'\",.]?$|none$|null$", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    r"(?P<name>\b(?:authorization|x-api-key)\\*+['\"]?\s*+[=:,]\s*+(?:b?\\*+['\"])?(?:[a-z][a-z\-]*+[ \t]++)?)"
    r"[^\s'\",;]++",
    re.IGNORECASE,
)
_AS_BEARER = re.compile(r"(?P<name>\bBearer\s++)[A-Za-z0-9._~+/=\-]{8,}+", re.IGNORECASE)
# Secrets that their shape shows: private keys, keys of AWS, OpenAI, Anthropic, Stripe, Google, tokens of GitHub, GitLab
# and Slack, and JSON Web Tokens.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<![\w\-])(?:(?:AKIA|ASIA)[A-Za-z0-9]{12,}+|sk-[\w\-]{12,}+|[rs]k_(?:live|test)_\w{8,}+|AIza[\w\-]{20,}+"
    r"|gh[opusr]_\w{16,}+|github_pat_\w{16,}+|glpat-[\w\-]{12,}+|xox[a-z]-[\w\-]{8,}+"
    r"|eyJ[\w\-]{8,}+\.[\w\-]{8,}+(?:\.[\w\-]*+)?)",
    re.DOTALL,
)


def masked(text: str) -> str:
    """The text with `***` in place of secrets.

    These are passwords in URLs, the values of names such as `password`, `client_secret`, `api_key` and `access_token`
    (as `name=value`, in a query, in JSON), credentials after `Authorization` and `Bearer`, and `_SHAPES`.
    """
    if "://" in text and "@" in text:  # first: a password may contain a keyword
        text = _WORD.sub(_masked_word, text)
    folded = text.casefold()
    if "authorization" in folded or "x-api-key" in folded:
        text = _AUTHORIZATION.sub(rf"\g<name>{MASK}", text)
    if any(part in folded for part in _IN_SECRET_NAMES):
        text = _with_masked_values(text)
    if "bearer" in folded:
        text = _AS_BEARER.sub(rf"\g<name>{MASK}", text)
    return _SHAPES.sub(MASK, text)


def _with_masked_values(text: str) -> str:
    parts, copied = [], 0
    for match in _NAME.finditer(text):
        name = _SECRET_NAME.search(match["name"] or match["flag"])
        value = name and match.start() >= copied and _VALUE.match(text, match.end())
        if name and value and not (name.group().lower() == "token" and _NO_TOKEN.match(value.group())):
            parts += [text[copied : value.start()], MASK]
            copied = value.end()
    return "".join([*parts, text[copied:]])


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
