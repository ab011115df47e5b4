"""A change of activities together with its log entries: written once, run as the database allows.

Postgres runs a change, or several, as one statement of common table expressions. One statement is one transaction: on
a connection with autocommit it needs neither BEGIN nor COMMIT and takes one round trip. SQLite has no statement that
writes two tables, so it runs the change and then its log entries in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from agentexec.store.dialects import LOCKED, Batch, as_parameters, is_postgres, relation, render, run
from agentexec.store.status import sources, sql_in

NEXT_N = "{next_n}"
_LOGGED = ("id", "status", "fence")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ActivityChange:
    """An INSERT or UPDATE of activities `a` from a batch `v`, with one log entry for each row that it changes.

    `name` is its name in the table of moves; `{sources}` in `sql` are the states from which that table lets it start.
    `columns` are those of the batch. A log entry has the new status and the token of the row, and the message of the
    batch; `n` and `percentage` are SQL for the rest of it, and `logged` is the condition for an entry. `answer` are the
    columns to return of each changed row.
    """

    name: str
    columns: tuple[str, ...]
    sql: str
    n: str = "0"
    percentage: str = "NULL"
    logged: str = "true"
    answer: tuple[str, ...] = ("id",)

    @property
    def needs_two_statements(self) -> bool:
        """Whether the log is read for the next number, which needs the lock of the row first.

        A statement that waits for a lock does not see what was committed while it waited; the next statement does.
        """
        return self.n == NEXT_N

    def activity_sql(self, *, postgres: bool, rows: str = "{rows}", locked: str = "{locked_ids}") -> str:
        """The statement that changes activities; `locked` is the condition on their ids that locks them in Postgres."""
        names = dict.fromkeys((*_LOGGED, *self.answer)) if postgres else self.answer
        # In SQLite, RETURNING knows no alias.
        returned = ", ".join(f"a.{name}" if postgres else name for name in names)
        moves = sql_in(sources(self.name))
        same_id = f"a.id {locked} AND a.id = v.id" if postgres else "a.id = v.id"
        sql = render(self.sql, postgres=postgres, rows=rows, same_id=same_id, sources=moves)
        return f"{sql} RETURNING {returned}"

    def log_sql(self, *, postgres: bool, rows: str = "{rows}", changed: str = "{activity}") -> str:
        """The statement that adds the log entries; `changed` is a relation with the changed rows."""
        sql = f"""INSERT INTO {{log}} (activity_id, fence, n, status, message, percentage, created_at)
            SELECT a.id, a.fence, {self.n}, a.status, v.message, {self.percentage}, {{now}}
            FROM {changed} AS a JOIN {{rows}} AS v ON a.id = v.id WHERE {self.logged}"""
        # An update that is sent again finds its entries under the numbers that it gave them.
        again = "" if self.needs_two_statements or "INSERT" in self.sql else " ON CONFLICT DO NOTHING"
        return render(sql, postgres=postgres, rows=rows) + again


def apply(
    connection: Connection, *batches: tuple[ActivityChange, Batch], **shared: Any
) -> Sequence[Sequence[Row[Any]]]:
    """Run changes of different activities, on Postgres in one statement; returns the answer of each change.

    `shared` are columns that all rows have in common.
    """
    if not is_postgres(connection) or any(change.needs_two_statements for change, _ in batches):
        return [_apply_in_two(connection, change, rows, shared) if rows else () for change, rows in batches]
    answers: dict[str, list[Any]] = {change.name: [] for change, _ in batches}
    forms = tuple((change, len(rows) == 1) for change, rows in batches if rows)
    parameters = as_parameters("shared", [shared])
    for change, rows in batches:
        parameters |= as_parameters(change.name, rows)
    for row in run(connection, _one_statement(forms, *shared), **parameters) if forms else ():
        answers[row[0]].append(row)
    return list(answers.values())


def _apply_in_two(
    connection: Connection, change: ActivityChange, batch: Batch, shared: Mapping[str, Any]
) -> Sequence[Row[Any]]:
    postgres, rows = is_postgres(connection), [{**row, **shared} for row in batch]
    change_sql, log_sql = _two_statements(change, postgres)
    given = [UUID(row["id"]) for row in batch] if postgres else None
    changed = run(connection, change_sql, rows=rows, ids=given)
    ids = {getattr(row.id, "hex", row.id) for row in changed}  # SQLite returns the text
    run(connection, log_sql, rows=[row for row in rows if row["id"] in ids])
    return changed


@cache
def _two_statements(change: ActivityChange, postgres: bool) -> tuple[str, str]:
    return change.activity_sql(postgres=postgres), change.log_sql(postgres=postgres)


@cache
def _one_statement(forms: tuple[tuple[ActivityChange, bool], ...], *shared: str) -> str:
    """The changes as one statement of Postgres, which locks all the activities first; True for those of one row."""
    common = f", {relation('shared', shared, postgres=True, alone=True)} AS shared" if shared else ""
    parts, answers = [], []
    for change, alone in forms:
        own = tuple(name for name in change.columns if name not in shared)
        batch = relation(change.name, own, postgres=True, alone=alone)
        parts.append(f"{change.name}_rows AS MATERIALIZED (SELECT * FROM {batch} AS own{common})")
    ids = " UNION ALL ".join(f"SELECT id FROM {c.name}_rows" for c, _ in forms if "{same_id}" in c.sql)
    if ids:
        parts.append(f"locked AS MATERIALIZED ({LOCKED.replace('CAST(:ids AS uuid[])', f'ARRAY({ids})')})")
    # The array makes the planner use the primary key. Without it, it reads the whole of a table that has no statistics
    # yet, and a batch takes seven times as long until autoanalyze runs.
    locked = "= ANY(ARRAY(SELECT id FROM locked))"
    for change, _ in forms:
        name, rows = change.name, f"{change.name}_rows"
        parts += [
            f"{name} AS ({change.activity_sql(postgres=True, rows=rows, locked=locked)})",
            f"{name}_log AS ({change.log_sql(postgres=True, rows=rows, changed=name)})",
        ]
        if change.answer:
            answers.append(f"SELECT '{name}' AS change, {', '.join(change.answer)} FROM {name}")
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(answers) or 'SELECT 1 WHERE false'}"
