"""Scripts that a Redis has lost, as it does at a restart: it answers NOSCRIPT to their digests.

The wire forwards another digest, so the answer is that of the server, in its place. Redis and the other clients of the
same server keep their scripts.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.wire.commands import SeenCommand

_CALLS = ("EVALSHA ", "EVALSHA_RO ")
_LOADS = frozenset({"SCRIPT LOAD", "EVAL", "EVAL_RO"})


class LostScripts:
    """Decides which calls of scripts the server does not know. All methods run on the loop of the wire."""

    def __init__(self) -> None:
        self._lost = False
        self._loads = 0
        # By the name of a call, the number of loads when it was refused last.
        self._refused: dict[str, int] = {}

    def lose(self, *, lost: bool) -> None:
        """From now on each script is lost until clients have loaded one; or no script is."""
        self._lost = lost
        self._refused.clear()

    def changed(self, data: bytes, seen: Sequence[SeenCommand]) -> bytes:
        """The bytes of a client with other digests for the scripts that are lost."""
        if not self._lost:
            return data
        for one in seen:
            self._loads += one.name in _LOADS
            if one.name.startswith(_CALLS) and self._refused.get(one.name, self._loads) == self._loads:
                self._refused[one.name] = self._loads
                digest = one.name.partition(" ")[2].encode()
                # In an earlier read it is not found, and the call passes.
                other = data[one.start : one.end].replace(digest, b"0" * len(digest), 1)
                data = data[: one.start] + other + data[one.end :]
        return data
