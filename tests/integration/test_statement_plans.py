"""What each statement reads on filled tables grows with its batch, not with the tables or the backlog.

40,000 finished activities and 5,000 queued ones, newer than all others, are enough for a scan of either to be seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from agentexec.activity import querying, retention, startup
from agentexec.core.db import engine_for
from agentexec.store import dead_letters, direct, reading, statements
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.worker.reconciler import START
from harness.environments.embedded import EmbeddedEnvironment
from loadtests.bench.bench import BenchEnvironment
from loadtests.bench.filled import autocommit, fill_finished, fill_queued, other_database
from tests.support.plans import ExecutedPlan, executed_plans
from tests.support.record import new_activity, starts

pytestmark = pytest.mark.integration

FINISHED, QUEUED = 40_000, 5_000
QUEUE, OTHER_QUEUE = "plans", "filled-0"
BATCH = 50
TOKEN = 10**9
# An insert, or a new version of a row, reads about 3 pages of each of the 9 indexes.
PAGES_FOR_EACH = 40
TABLES = ("agentexec_activity", "agentexec_activity_log")
LAST = UUID(int=2**128 - 1)


class Filled(NamedTuple):
    """Ids of the filled database: the oldest and the newest queued activities, and the newest finished ones."""

    queued: Sequence[UUID]
    recent: Sequence[UUID]
    finished: Sequence[UUID]


Work = Callable[[Connection, Filled], object]


def _run(connection: Connection, filled: Filled) -> None:
    statements.record_batch(connection, starts(dict.fromkeys(filled.queued, TOKEN)), [])


def _batch(connection: Connection, filled: Filled) -> None:
    _run(connection, filled)
    ends = [
        ActivityUpdate(id=i, token=TOKEN, n=1, status=Status.COMPLETE, message="Over.") for i in filled.queued
    ]
    statements.record_batch(connection, [], [*ends, *ends])


def _enqueued(connection: Connection, _filled: Filled) -> None:
    activities = [new_activity(QUEUE, idempotency_key=f"key-{number}") for number in range(BATCH)]
    for _ in range(2):
        statements.record_enqueued(connection, activities)


def _progress(connection: Connection, filled: Filled) -> None:
    _run(connection, filled)
    entries = [LogEntry(id=i, token=TOKEN, n=2, message="half", percentage=50) for i in filled.queued]
    statements.record_progress(connection, entries)


def _revoked(connection: Connection, filled: Filled) -> None:
    _run(connection, filled)
    tokens = dict.fromkeys(filled.queued, TOKEN)
    statements.record_revoked(connection, tokens, Status.QUEUED, "Its worker died.")


def _unmarked(connection: Connection, filled: Filled) -> None:
    statements.mark_withdrawals(connection, filled.queued)
    statements.unmark_withdrawals(connection, reading.withdrawals(connection, QUEUE, START, BATCH))


def _one(work: Callable[[Connection, direct.Locked], object]) -> Work:
    def run(connection: Connection, filled: Filled) -> None:
        activity = direct.lock(connection, filled.queued[0])
        assert activity is not None
        work(connection, activity)

    return run


def _in_session(work: Callable[[Session], object]) -> Work:
    def run(connection: Connection, _filled: Filled) -> None:
        with Session(connection) as session:
            work(session)

    return run


def _listed(**options: Any) -> Work:
    return _in_session(lambda session: querying.list_activities(session, page_size=BATCH, **options))


WORKS: dict[str, Work] = {
    "record_enqueued": _enqueued,
    "record_batch": _batch,
    "record_progress": _progress,
    "record_revoked": _revoked,
    "record_terminated": lambda c, f: statements.record_terminated(
        c, dict.fromkeys(f.queued, TOKEN), Status.ERROR, "Over."
    ),
    "request_cancel": lambda c, f: statements.request_cancel(c, f.queued, "Canceled."),
    "record_dead_letters": lambda c, f: statements.record_dead_letters(
        c, dict.fromkeys(f.queued, "It crashed")
    ),
    "mark_dead_letters": lambda c, f: statements.mark_dead_letters(c, f.finished),
    "mark_withdrawals": lambda c, f: statements.mark_withdrawals(c, f.queued),
    "unmark_withdrawals": _unmarked,
    "mark_dispatched": lambda c, f: statements.mark_dispatched(c, f.queued),
    "standings": lambda c, f: reading.standings(c, f.queued),
    "pending": lambda c, f: reading.pending(c, f.queued),
    "undispatched": lambda c, f: reading.undispatched(c, f.queued),
    "pending_after": lambda c, f: reading.pending_after(c, QUEUE, f.queued[-1], older_than=2, limit=BATCH),
    "pending_after, another queue": lambda c, _: reading.pending_after(
        c, OTHER_QUEUE, START, older_than=2, limit=BATCH
    ),
    "withdrawals": lambda c, _: reading.withdrawals(c, QUEUE, START, BATCH),
    "queue_names": lambda c, f: reading.queue_names(c, f.finished),
    "outbox": lambda c, f: reading.outbox(c, QUEUE, f.queued[-1], older_than=2, limit=BATCH, behind=BATCH),
    "outbox, its end": lambda c, _: reading.outbox(c, QUEUE, LAST, older_than=2, limit=BATCH, behind=BATCH),
    "dead_letter_names": lambda c, f: reading.dead_letter_names(c, f.finished),
    "outbox_lag": lambda c, f: reading.outbox_lag(c, QUEUE, f.recent[-1]),
    "dead_letter_times": lambda c, _: dead_letters.dead_letter_times(c, OTHER_QUEUE, BATCH),
    "dead_letter_rows": lambda c, f: dead_letters.dead_letter_rows(c, OTHER_QUEUE, f.finished),
    "unmark_dead_letters": lambda c, f: dead_letters.unmark_dead_letters(c, OTHER_QUEUE, f.finished),
    "lock": _one(lambda c, activity: None),
    "note": _one(lambda c, activity: direct.note(c, activity, "Noted.", None)),
    "end": _one(lambda c, activity: direct.end(c, activity, Status.ERROR, "Over.", None)),
    "detail": lambda c, f: querying.detail(Session(c), f.finished[0]),
    "list": _listed(),
    "list, page 3": _listed(page=3),
    **{f"list, {status}": _listed(status=status) for status in Status},
    "retention": lambda c, _: retention._batch(
        c, None, datetime.now(UTC) - timedelta(days=30), archive=True, size=BATCH
    ),
}
"""Each statement of agentexec, with a batch of `BATCH`, by the name of the function that has it."""
READ_QUEUED = {"list", "list, page 3", f"list, {Status.QUEUED}"}
"""Those that count by reading all that is queued while there are no statistics."""


@pytest.fixture(scope="module")
def database(servers: EmbeddedEnvironment) -> Iterator[str]:
    """The URL of a filled database."""
    environment = BenchEnvironment(endpoints=servers.endpoints, folder=Path())
    with other_database(environment) as filled, autocommit(filled) as engine:
        fill_finished(engine, FINISHED)
        fill_queued(engine, QUEUE, QUEUED)
        with engine.connect() as connection:
            for table in TABLES:
                connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        yield filled.endpoints.database_url


@pytest.fixture(scope="module")
def filled(database: str) -> Filled:
    engine = engine_for(database)
    query = "SELECT id FROM agentexec_activity WHERE status = '{}' ORDER BY id {} LIMIT {}"
    with engine.connect() as connection:
        found = [
            connection.execute(text(query.format(*which, BATCH))).scalars().all()
            for which in (("queued", "ASC"), ("queued", "DESC"), ("complete", "DESC"))
        ]
    engine.dispose()
    return Filled(*found)


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("statistics", ["analyzed", "without statistics"])
def test_each_statement_reads_what_belongs_to_its_batch(
    database: str, filled: Filled, statistics: str, generic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a plan for any parameters, and without statistics, as after an upgrade of the server."""
    monkeypatch.setattr(querying, "COUNTED", BATCH)
    engine = engine_for(database)
    plans = executed_plans(engine, generic=generic)
    wrong: list[str] = []
    with engine.connect() as connection:
        if statistics == "without statistics":
            _forget_statistics(connection)
        for name, work in WORKS.items():
            plans.clear()
            work(connection, filled)
            connection.rollback()
            assert any(map(_is_ours, plans)), name
            backlog = QUEUED if statistics != "analyzed" and name in READ_QUEUED else 0
            found = (_excess(plan, backlog) for plan in filter(_is_ours, plans))
            wrong += [f"{name}: {excess}" for excess in found if excess]
    engine.dispose()
    assert not wrong, "\n".join(wrong)


def _is_ours(plan: ExecutedPlan) -> bool:
    return "agentexec_activity" in plan.statement


def _excess(plan: ExecutedPlan, backlog: int) -> str | None:
    """What the statement reads too much of."""
    pages = PAGES_FOR_EACH * BATCH + backlog
    if plan.pages <= pages and plan.filtered <= 2 * BATCH and not plan.read_whole(TABLES):
        return None
    return f"{plan.pages} pages, {plan.filtered} rows left out, {plan.read_whole(TABLES)} read whole: {plan.statement}"


def _forget_statistics(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(text(f"DELETE FROM pg_statistic WHERE starelid = '{table}'::regclass"))
        # No page is known as visible to all, either; how many are after a fill depends on the moment of its vacuum.
        forgotten = f"UPDATE pg_class SET reltuples = -1, relallvisible = 0 WHERE relname = '{table}'"
        connection.execute(text(forgotten))
    connection.commit()


@pytest.mark.parametrize("generic", [False, True])
def test_what_reads_the_whole_backlog_reads_no_finished_activities(database: str, generic: bool) -> None:
    engine = engine_for(database)
    plans = executed_plans(engine, generic=generic)
    with Session(engine) as session:
        plans.clear()
        assert querying.count_active(session) == QUEUED
        startup._unchanged(session, QUEUE, datetime.now(UTC), START)
    engine.dispose()
    assert len(plans) == 2
    assert not any(plan.read_whole(TABLES) or plan.filtered > QUEUED for plan in plans), plans


def test_no_statement_is_missing() -> None:
    """Each public function of the store is among the works."""

    def of(module: ModuleType) -> set[str]:
        return {
            name
            for name, value in inspect.getmembers(module, inspect.isfunction)
            if value.__module__ == module.__name__ and not name.startswith("_")
        }

    functions = set().union(*map(of, (statements, reading, dead_letters, direct)))
    assert functions <= {name.partition(",")[0] for name in WORKS}
