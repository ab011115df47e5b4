"""Probes in the simulated Postgres: which named events the statements of one run reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import from_json

from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.status import TERMINAL
from harness.simulation.worker_promises import StartTokens

# A part of the text of each statement that no other one has.
_PARTS = {
    "enqueue": f"INSERT INTO {ACTIVITY_TABLE} AS a",
    "start": "SET status = 'running'",
    "finish": "result = v.result",
    "revoke": "a.cancel_requested_at IS NULL THEN",
    "cancel": "coalesce(cancel_requested_at",
    "terminate": "SET status = v.status, fence = v.token",
    "mark": "SET dispatched_at",
}
_STANDING = f"SELECT status, fence, cancel_requested_at FROM {ACTIVITY_TABLE} WHERE id = ?"

# Status, fence and time of the cancel request of an activity, by the hexadecimal text of its id.
StandingOf = Callable[[str], tuple[str, int, object]]


class StoreProbes:
    """Adds the names of what statements reach to `reached`, and the leases of recorded starts to `starts`.

    A lease is the id as the store has it, 32 hexadecimal digits, and the token.
    """

    def __init__(
        self,
        reached: set[str],
        starts: set[tuple[str, int]],
        ended: Callable[[tuple[str, int]], None] | None = None,
    ) -> None:
        """`ended` is called with each lease of which an end is refused, as the activity is over."""
        self._reached = reached
        self._ended = ended or (lambda _: None)
        self._starts = starts
        self.committing: list[str] = []  # the changes of the transaction that is open
        self.tokens = StartTokens()
        self._probes: Mapping[str, Callable[[StandingOf, Sequence[Any], set[str]], None]] = {
            "enqueue": self._enqueue,
            "start": self._start,
            "finish": self._finish,
            "revoke": self._revoke,
        }

    def after(
        self, driver: sqlite3.Connection, text: str, parameters: Mapping[str, Any], rows: Sequence[Any]
    ) -> None:
        """Look at a statement that SQLite has run."""
        change = change_of(text)
        if change is None:
            return
        self.committing.append(f"{change}-commit")
        batch = parameters["batch"] if change in self._probes else "[]"
        self.changed(change, from_json(batch), rows, lambda task_id: _standing(driver, task_id))

    def changed(
        self, change: str, batch: Sequence[Any], rows: Sequence[Any], standing_of: StandingOf
    ) -> None:
        """Look at a change of this name: its batch, and the rows that it returned, with ids in hexadecimal text."""
        if change == "cancel":
            self._reached.update(f"cancel-of-{row.status}-row" for row in rows)
        elif change in self._probes:
            self._probes[change](standing_of, batch, {row.id for row in rows})

    def _enqueue(self, _standing_of: StandingOf, batch: Sequence[Any], changed: set[str]) -> None:
        if len(changed) < len(batch):
            self._reached.add("enqueue-known-already")

    def _start(self, standing_of: StandingOf, batch: Sequence[Any], changed: set[str]) -> None:
        too_low: list[tuple[Mapping[str, Any], int]] = []
        for start in batch:
            lease = start["id"], start["token"]
            if start["id"] in changed:
                if lease in self._starts:
                    self._reached.add("start-repeated")
                self._starts.add(lease)
                continue
            status, fence, canceled = standing_of(start["id"])
            if not status:
                self._reached.add("start-of-deleted-row")
            elif status in TERMINAL:
                self._reached.add("start-of-ended-task")
            elif canceled is not None:
                self._reached.add("start-of-canceled-task")
            elif fence >= start["token"]:
                self._reached.add("start-under-lower-fence")
                too_low.append((start, fence))
            else:
                self._reached.add("start-refused-by-lock-key")
        self.tokens.judge(too_low)

    def _finish(self, standing_of: StandingOf, batch: Sequence[Any], changed: set[str]) -> None:
        for update in batch:
            if update["id"] in changed:
                continue
            status, fence, _ = standing_of(update["id"])
            if not status or status in TERMINAL:
                self._ended((update["id"], update["token"]))
            if not status:
                self._reached.add("end-of-deleted-row")
            elif fence != update["token"]:
                self._reached.add("end-under-lower-fence")
            else:
                self._reached.add("end-repeated" if status == update["status"] else "end-of-ended-run")

    def _revoke(self, _standing_of: StandingOf, batch: Sequence[Any], changed: set[str]) -> None:
        if len(changed) < len(batch):
            self._reached.add("revocation-of-moved-row")
        if changed and any(one["message"].startswith("Its lease was lost") for one in batch):
            self._reached.add("row-without-lease-requeued")


def _standing(driver: sqlite3.Connection, task_id: str) -> tuple[str, int, str | None]:
    row = driver.execute(_STANDING, (task_id,)).fetchone()
    return row or ("", 0, None)


@cache
def change_of(text: str) -> str | None:
    """The name of the change that a statement makes; None for one that only reads or adds entries to the log."""
    return next((name for name, part in _PARTS.items() if part in text), None)
