"""Defects that only the Postgres form of a statement has: SQLite's text, or its meaning, stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.planted.defect import Defect
from tests.planted.edits import Edit

_STORE = "agentexec.store"

DELAY_REBUILT_AS_NONE = Defect(
    name="delay-rebuilt-as-none",
    imitates="an age where the time that remains is meant, in one of two dialects",
    breaks="a delayed task runs at once after Redis lost its contents",
    part="record to queue",
    edits=(
        Edit(
            where=f"{_STORE}.dialects:_POSTGRES[seconds_left]",
            old="run_after - clock_timestamp()",
            new="clock_timestamp() - run_after",
        ),
    ),
)

LOG_OF_REFUSED_ROWS = Defect(
    name="log-of-refused-rows",
    imitates="a common table expression that reads the table, and not what RETURNING returned",
    breaks="the log has entries for changes that were refused, with the status from before",
    part="statement STARTED",
    edits=(
        Edit(
            where=f"{_STORE}.changes:_one_statement",
            old="rows=rows, changed=name)",
            new="rows=rows, changed='{activity}')",
        ),
    ),
)

REVOKED_IN_TWO_TRANSACTIONS = Defect(
    name="revoked-in-two-transactions",
    imitates="AUTOCOMMIT for a change of two statements, to save a round trip",
    breaks="a process that dies between the two leaves a status that the log does not have",
    part="statement REVOKED",
    edits=(
        Edit(
            where="agentexec.worker.recording:record_revocations",
            old="retrying.record([*revoked.requeued], requeue, refused)",
            new="retrying.record([*revoked.requeued], requeue, refused, single_statement=True)",
        ),
    ),
)

OF_POSTGRES: Mapping[str, Defect] = MappingProxyType(
    {
        defect.name: defect
        for defect in (
            DELAY_REBUILT_AS_NONE,
            LOG_OF_REFUSED_ROWS,
            REVOKED_IN_TWO_TRANSACTIONS,
        )
    }
)
