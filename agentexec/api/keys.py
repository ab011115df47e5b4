"""Bearer keys. Several are valid at once, so that a new key can be distributed before the old one is removed."""

from __future__ import annotations

import hashlib
import hmac

from agentexec.errors import ConfigurationError

SHORTEST_KEY = 16  # characters


class Keys:
    """The valid keys, stored as digests."""

    def __init__(self, text: str) -> None:
        """Parse keys separated by commas; raises `ConfigurationError` for a short one, without showing it."""
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not keys or min(map(len, keys)) < SHORTEST_KEY:
            raise ConfigurationError(
                f"Every key in AGENTEXEC_API_KEYS has at least {SHORTEST_KEY} characters; "
                "make one with `openssl rand -hex 32`, and separate several by commas."
            )
        self._digests = tuple(_digest(key) for key in keys)

    def caller(self, authorization: str | None) -> str | None:
        """A name for the sender of this Authorization header; None if its key is not valid.

        The name does not reveal the key. The time does not depend on the key.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        digest = _digest(presented.strip())
        matches = [hmac.compare_digest(digest, known) for known in self._digests]  # compares with all of them
        return f"key-{digest.hex()[:16]}" if any(matches) and scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
