"""Which changes a statement of Postgres makes, and what the probes of the store see of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from agentexec.store.dialects import ACTIVITY_TABLE, as_uuid
from harness.simulation.postgres.backend import Backend
from harness.simulation.store_probes import StoreProbes, change_of

# The common table expressions of several changes in one statement (`agentexec.store.changes`).
_CHANGES = re.compile(r"(\w+)_rows AS MATERIALIZED")
# Where the probes have another name for a change.
_NAMES = {"request_cancel": "cancel"}
_STANDING = f"SELECT status, fence, cancel_requested_at FROM {ACTIVITY_TABLE} WHERE id = $1".encode()


class _ChangedRow(NamedTuple):
    """A row that a change returned."""

    id: str
    status: str


def look(
    probes: StoreProbes, backend: Backend, text: str, parameters: Mapping[str, Any], rows: Sequence[Any]
) -> list[str]:
    """Let the probes see what a statement did; returns the names of its changes."""
    names, together = _changes_of(text)
    for name in names:
        own = [row for row in rows if not together or row.change == name]
        changed = [_ChangedRow(as_uuid(row.id).hex, getattr(row, "status", "")) for row in own]
        key = name if together else "batch"
        probes.changed(
            _NAMES.get(name, name),
            _batch(key, parameters),
            changed,
            lambda task_id: _standing(backend, task_id),
        )
    return [_NAMES.get(name, name) for name in names]


@cache
def _changes_of(text: str) -> tuple[Sequence[str], bool]:
    """The names of the changes, and whether the statement tells their rows apart by name."""
    if together := _CHANGES.findall(text):
        return together, True
    alone = change_of(text)
    return [] if alone is None else [alone], False


def _batch(key: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """A batch from its JSON, or from the parameters of its only row (`as_parameters`)."""
    if key in parameters:
        batch: Sequence[Any] = json.loads(parameters[key])
        return batch
    row = {
        name.removeprefix(f"{key}_"): value
        for name, value in parameters.items()
        if name.startswith(f"{key}_")
    }
    return [row | {"token": int(row["token"])} if "token" in row else row] if row else []


def _standing(backend: Backend, task_id: str) -> tuple[str, int, object]:
    result = backend.pgconn.exec_params(_STANDING, [task_id.encode()])
    if not result.ntuples:
        return "", 0, None
    status, fence, canceled = (result.get_value(0, column) for column in range(3))
    return (status or b"").decode(), int(fence or 0), canceled
