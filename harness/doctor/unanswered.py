"""Why a check has no answer."""

from __future__ import annotations


class CannotTell(Exception):
    """A check cannot be answered here; the message is the reason, without a secret."""


class NoAnswer(Exception):
    """A server, `postgres` or `redis`, does not answer; the message is the reason, without a secret."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(reason)
        self.server = server
