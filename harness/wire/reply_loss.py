"""The loss of one reply, found by its size and by the bytes of its request, for servers of any protocol."""

from __future__ import annotations

import threading


class ReplyLoss:
    """Decides which reply is lost; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._skip: int | None = None
        self._at_least = 0
        self._to = b""

    @property
    def is_armed(self) -> bool:
        """Whether a reply is going to be lost."""
        return self._skip is not None

    def lose(self, *, skip: int, within: float, at_least: int, to: bytes) -> bool:
        """Wait until a reply was lost; False if none came `within` seconds."""
        with self._changed:
            self._skip, self._at_least, self._to = skip, at_least, to
            lost = self._changed.wait_for(lambda: self._skip is None, within)
            self._skip = None
            return lost

    def takes(self, length: int, request: bytes) -> bool:
        """Whether the reply of so many bytes to this request is the one to be lost."""
        with self._changed:
            if self._skip is None or length < self._at_least or self._to not in request:
                return False
            self._skip -= 1
            if self._skip >= 0:
                return False
            self._skip = None
            self._changed.notify_all()
            return True
