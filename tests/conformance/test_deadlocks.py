"""No two statements wait for each other: each locks activities in the order of their ids, or waits for none.

`LOCKING` names every statement of agentexec that locks rows. All of them run against each other, and each is stopped
at each of its rows to see which other rows it has locked by then.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

import agentexec
from agentexec.activity import cleanup_old_activities, startup
from agentexec.config import normalised_database_url
from agentexec.core.db import create_schema, engine_for, one_statement
from agentexec.identifiers import new_id
from agentexec.producer.client import _record_cancel
from agentexec.producer.enqueuer import Enqueuer, PreparedTask, _Group
from agentexec.queue.protocol import Revocations
from agentexec.store import direct, reading, statements
from agentexec.store.dead_letters import unmark_dead_letters
from agentexec.store.dialects import ACTIVITY_TABLE, STATEMENT_BYTES
from agentexec.store.models import ACTIVITY_ARCHIVE, LOG_ARCHIVE
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.worker.recording import record_revocations
from agentexec.worker.retrying import Retrying
from harness.environments.embedded import EmbeddedEnvironment
from harness.simulation.queue.memory_queue import MemoryQueue
from tests.conftest import Eventually
from tests.support.record import new_activity, starts

TOKEN = 1_000
ROWS = 3
QUEUE = "deadlocks"
RACE_ROUNDS, RACERS = 6, 6

Work = Callable[[Engine, Sequence[UUID]], object]


def _run(work: Callable[[Connection, Sequence[UUID]], object]) -> Work:
    """The work in a transaction of its own."""

    def run(engine: Engine, ids: Sequence[UUID]) -> None:
        with engine.begin() as connection:
            work(connection, ids)

    return run


def _tokens(ids: Sequence[UUID], token: int = TOKEN) -> dict[UUID, int]:
    return dict.fromkeys(ids, token)


def _ends(ids: Sequence[UUID]) -> list[ActivityUpdate]:
    return [
        ActivityUpdate(id=i, token=TOKEN, n=None, status=Status.COMPLETE, message="Completed.") for i in ids
    ]


def _batch(engine: Engine, ids: Sequence[UUID]) -> None:
    """A worker's batch: the tasks that it ends are older and newer than those that it starts."""
    with one_statement(engine).begin() as connection:
        statements.record_batch(connection, starts(_tokens(ids[1::2], TOKEN + 1)), _ends(ids[::2]))


def _progress(connection: Connection, ids: Sequence[UUID]) -> None:
    entries = [LogEntry(id=i, token=TOKEN, n=n, message="half") for n in (2, 1) for i in ids]
    statements.record_progress(connection, entries)


def _revocations(engine: Engine, ids: Sequence[UUID]) -> None:
    revoked = Revocations(_tokens(ids[1::2]), _tokens(ids[::2]))
    record_revocations(Retrying(engine, lambda: True), revoked, "Its worker died.")


def _unmark(connection: Connection, ids: Sequence[UUID]) -> None:
    found = reading.withdrawals(connection, QUEUE, UUID(int=0), 1_000)
    statements.unmark_withdrawals(connection, [one for one in found if one.id in ids])


def _orphans(engine: Engine, ids: Sequence[UUID]) -> None:
    with Session(engine) as session, session.begin():
        startup._cancel(session, _tokens(sorted(ids), TOKEN + 7))


def _one_by_hand(engine: Engine, ids: Sequence[UUID]) -> None:
    for i in ids:
        with engine.begin() as connection:
            if (activity := direct.lock(connection, i)) is not None and not activity.status.terminal:
                direct.note(connection, activity, "Noted.", None)


def _ended(engine: Engine, ids: Sequence[UUID]) -> None:
    for i in ids:
        with engine.begin() as connection:
            if (activity := direct.lock(connection, i)) is not None and not activity.status.terminal:
                direct.end(connection, activity, Status.ERROR, "Ended.", None)


WORKS: Mapping[str, Work] = {
    "batch": _batch,
    "progress": _run(_progress),
    "revocations": _revocations,
    "terminate": _run(
        lambda c, ids: statements.record_terminated(c, _tokens(ids, TOKEN + 9), Status.ERROR, "Over.")
    ),
    "cancel": lambda engine, ids: _record_cancel(engine, ids, "Canceled."),
    "dispatched": lambda engine, ids: _run(statements.mark_dispatched)(one_statement(engine), ids),
    "withdraw": _run(statements.mark_withdrawals),
    "withdrawn": _run(_unmark),
    "dead letters": _run(lambda c, ids: statements.record_dead_letters(c, dict.fromkeys(ids, "It crashed"))),
    "settled": _run(lambda c, ids: unmark_dead_letters(c, QUEUE, ids)),
    "orphans": _orphans,
    "note": _one_by_hand,
    "end": _ended,
    "retention": lambda engine, ids: cleanup_old_activities(engine, days=0, archive=True),
}
"""Everything that locks the rows of activities, as it runs in production."""

LOCKING: Mapping[str, tuple[str, ...]] = {
    "activity.retention:_batch": ("retention",),
    "activity.retention:_copy": ("retention",),
    "store.changes:log_sql": ("batch", "revocations", "terminate", "cancel"),
    "store.dead_letters:SETTLED": ("settled",),
    "store.dialects:LOCKED": ("batch", "cancel", "withdraw"),
    "store.dialects:_FREE": ("dispatched",),
    "store.dialects:_POSTGRES": ("progress",),
    "store.direct:lock": ("note", "end"),
    "store.direct:note": ("note",),
    "store.statements:ENQUEUED": ("enqueue",),  # has a test of its own: it locks keys, and rows that are new
    "store.statements:STARTED": ("batch",),
    "store.statements:FINISHED": ("batch",),
    "store.statements:REVOKED": ("revocations",),
    "store.statements:TERMINATED": ("terminate", "orphans", "dead letters"),
    "store.statements:CANCEL_REQUESTED": ("cancel",),
    "store.statements:PROGRESS": ("progress",),
    "store.statements:DISPATCHED": ("dispatched",),
    "store.statements:WITHDRAW": ("withdraw", "end"),
    "store.statements:WITHDRAWN": ("withdrawn",),
    "store.statements:DEAD_LETTERED": ("dead letters",),
}
"""Every statement that locks rows, with the works that run it."""

_LOCKS = re.compile(r"\b(UPDATE\s+[\w{]|INSERT INTO|DELETE FROM|FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE)\b")
_LOCKING_CALLS = {"update", "delete", "insert", "with_for_update"}


def test_every_statement_that_locks_rows_is_raced() -> None:
    """A new one is added to `WORKS` and `LOCKING`."""
    root = Path(agentexec.__file__).parent
    found = {
        f"{'.'.join(path.relative_to(root).with_suffix('').parts)}:{name}"
        for path in sorted(root.rglob("*.py"))
        if "migrations" not in path.parts
        for name in _locking_names(ast.parse(path.read_text("utf-8")))
    }
    assert found == LOCKING.keys()
    assert {work for works in LOCKING.values() for work in works} == WORKS.keys() | {"enqueue"}


def _locking_names(module: ast.Module) -> Iterator[str]:
    """The functions and constants of a module that have SQL which locks rows."""
    for statement in ast.walk(module):
        if isinstance(statement, ast.FunctionDef) and any(
            _locks(node) for part in statement.body for node in ast.walk(part)
        ):
            yield statement.name
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and any(map(_locks, ast.walk(statement))):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            yield ast.unparse(target)


def _locks(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _LOCKS.search(node.value) is not None
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        is_sql = isinstance(node.func, ast.Name) or name == "with_for_update"
        return is_sql and name in _LOCKING_CALLS
    return False


@pytest.fixture(scope="module")
def url(servers: EmbeddedEnvironment) -> str:
    """A database of its own, since retention takes the rows of every queue."""
    admin = create_engine(
        normalised_database_url(servers.endpoints.database_url), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE deadlocks"))
    admin.dispose()
    return make_url(servers.endpoints.database_url).set(database="deadlocks").render_as_string(False)


@pytest.fixture(scope="module")
def database(url: str) -> Iterator[Engine]:
    """For what the tests themselves do."""
    with opened(url) as engine:
        create_schema(engine)
        with engine.begin() as connection:  # the race archives an activity more than once
            for table in (ACTIVITY_ARCHIVE.name, LOG_ARCHIVE.name):
                connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey"))
        yield engine


@contextmanager
def opened(url: str, **settings: str) -> Iterator[Engine]:
    """An engine whose connections are named `work` and have these settings of the server."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    with_options = make_url(url).update_query_dict({"options": options}).render_as_string(False)
    engine = engine_for(with_options, pool_size=RACERS, name="work", test_connections=False)
    try:
        yield engine
    finally:
        engine.dispose()


def fill(engine: Engine, status: str, count: int = ROWS) -> list[UUID]:
    """Activities in one state, with every mark but `dispatched_at`, which lie in the table against their order."""
    ids = sorted(new_id() for _ in range(count))
    activities = [replace(new_activity(QUEUE), id=i) for i in ids]
    with engine.begin() as connection:
        for activity in reversed(activities):
            statements.record_enqueued(connection, [activity])
            statements.record_batch(connection, starts(_tokens([activity.id])), [])
            mark(connection, activity.id, status)
    return ids


def mark(connection: Connection, task: UUID, status: str) -> None:
    connection.execute(
        text(
            f"""UPDATE {ACTIVITY_TABLE} SET status = :status, fence = {TOKEN}, withdraw_since = now(),
            dead_lettered_at = now(), dispatched_at = NULL, cancel_requested_at = NULL,
            updated_at = now() - interval '1 day' WHERE id = :id"""
        ),
        {"status": status, "id": task},
    )


NEVER_WAIT = {("dispatched", "running"), ("retention", "complete")}
CASES = [
    *NEVER_WAIT,
    ("dispatched", "canceled"),
    *((n, "running") for n in WORKS.keys() - {"dispatched", "retention"}),
]
PLANS = {
    "by index": {"enable_seqscan": "off", "enable_bitmapscan": "off"},
    "by place": {"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"},
    "hashed": {"enable_nestloop": "off", "enable_mergejoin": "off", "enable_indexscan": "off"},
}


@pytest.mark.integration
@pytest.mark.parametrize("plan", PLANS)
def test_what_waits_for_an_activity_has_locked_none_with_a_higher_id(
    url: str, database: Engine, plan: str, eventually: Eventually
) -> None:
    with opened(url, **PLANS[plan]) as engine, ThreadPoolExecutor(1) as thread:
        for name, status in sorted(CASES):
            for blocked in range(ROWS):
                ids = fill(database, status)
                with database.begin() as blocker:
                    assert free(blocker, [ids[blocked]])
                    work = thread.submit(WORKS[name], engine, ids)
                    waits = eventually(partial(ended_or_waits, database, work)) == "waits"
                    assert waits != ((name, status) in NEVER_WAIT), name
                    with database.begin() as other:
                        above = ids[blocked + 1 :]
                        assert not waits or free(other, above) == above, f"{name} waits for row {blocked}"
                work.result(timeout=10)


def free(connection: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Lock those of the activities that nothing else has locked; returns them in order."""
    query = text(f"SELECT id FROM {ACTIVITY_TABLE} WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED")
    return sorted(connection.execute(query, {"ids": list(ids)}).scalars())


def ended_or_waits(database: Engine, work: Future[object]) -> str:
    if work.done():
        return "ended"
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'work' AND wait_event_type = 'Lock'"
    )
    with database.connect() as connection:
        return "waits" if connection.execute(text(query)).scalar_one() else ""


@pytest.mark.integration
def test_a_statement_that_locks_in_another_order_is_found(
    url: str, database: Engine, eventually: Eventually
) -> None:
    """The test above sees what it is for."""
    disorderly = _run(lambda c, ids: c.execute(text(f"UPDATE {ACTIVITY_TABLE} SET error = 'x'")))
    with opened(url) as engine, ThreadPoolExecutor(1) as thread:
        ids = fill(database, "running")
        with database.begin() as blocker:
            assert free(blocker, ids[:1])
            work = thread.submit(disorderly, engine, ids)
            eventually(lambda: ended_or_waits(database, work) == "waits")
            with database.begin() as other:
                assert free(other, ids[1:]) == []
        work.result(timeout=10)


@pytest.mark.integration
def test_all_statements_run_against_each_other_without_a_deadlock(url: str, database: Engine) -> None:
    ids = fill(database, "running", 8)
    activities = [replace(new_activity(QUEUE), id=i) for i in ids]

    def race(engine: Engine, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(RACE_ROUNDS):
            for name in chance.sample(sorted(WORKS), len(WORKS)):
                WORKS[name](engine, chance.sample(ids, len(ids)))
            with engine.begin() as connection:
                statements.record_enqueued(connection, activities[::-1])
            for i in ids:
                with engine.begin() as connection:
                    mark(connection, i, chance.choice(["running", "running", "canceled", "complete"]))

    with opened(url, deadlock_timeout="10ms") as engine, ThreadPoolExecutor(RACERS) as threads:
        for racer in [threads.submit(race, engine, seed) for seed in range(RACERS)]:
            racer.result(timeout=60)


@pytest.mark.integration
@pytest.mark.parametrize("blocked", range(ROWS))
def test_an_enqueue_that_waits_for_a_key_has_taken_no_higher_one(
    url: str, database: Engine, blocked: int, eventually: Eventually
) -> None:
    """Whatever the order of its ids: two producers with the same two keys wait for each other otherwise."""
    keys = sorted(uuid4().hex for _ in range(ROWS))
    batch = [new_activity(QUEUE, idempotency_key=key) for key in reversed(keys)]
    enqueue = partial(statements.record_enqueued, activities=batch)
    with opened(url) as engine, ThreadPoolExecutor(1) as thread:
        with database.begin() as blocker:
            statements.record_enqueued(blocker, [new_activity(QUEUE, idempotency_key=keys[blocked])])
            work = thread.submit(_run(lambda c, _: enqueue(c)), engine, [])
            eventually(lambda: ended_or_waits(database, work) == "waits")
            with database.connect() as other:
                other.execute(text("SET LOCAL lock_timeout = '1s'"))
                for key in keys[blocked + 1 :]:  # raises if it waits
                    statements.record_enqueued(other, [new_activity(QUEUE, idempotency_key=key)])
                other.rollback()
        work.result(timeout=10)


def test_parts_of_one_transaction_are_in_the_order_of_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_for("sqlite://")
    enqueuer, written = Enqueuer(engine, MemoryQueue()), list[str | None]()
    monkeypatch.setattr(enqueuer, "_require_own_queue", lambda: None)
    monkeypatch.setattr(
        enqueuer,
        "_write",
        lambda parts, *_, **__: written.extend(a.idempotency_key for p in parts for a in p),
    )
    tasks = [PreparedTask(new_activity(QUEUE, idempotency_key=key), b"", STATEMENT_BYTES) for key in "cab"]
    enqueuer._record([_Group(tasks, Future())])
    assert written == ["a", "b", "c"]
    engine.dispose()


@pytest.mark.integration
def test_a_mark_that_is_skipped_is_made_by_the_outbox_dispatcher_later(url: str, database: Engine) -> None:
    ids = fill(database, "running")
    with opened(url) as engine:
        with database.begin() as blocker:
            assert free(blocker, ids[:1]) == ids[:1]
            WORKS["dispatched"](engine, ids)
        assert unmarked(engine, ids) == ids[:1]
        WORKS["dispatched"](engine, unmarked(engine, ids))
        assert unmarked(engine, ids) == []


def unmarked(engine: Engine, ids: Sequence[UUID]) -> list[UUID]:
    """What the outbox dispatcher would offer to the queue again."""
    with engine.connect() as connection:
        found = reading.outbox(connection, QUEUE, UUID(int=0), older_than=0, limit=10_000, behind=0)
    return sorted(row.id for row in found if not row.dispatched and row.id in ids)


@pytest.mark.integration
def test_a_task_that_was_canceled_before_its_dispatch_is_withdrawn_although_others_lock_it(
    url: str, database: Engine, eventually: Eventually
) -> None:
    """Its withdrawal from the queue came before the task did, and nothing else would remove it from there."""
    ids = fill(database, "canceled")
    with opened(url) as engine, ThreadPoolExecutor(1) as thread:
        with database.begin() as blocker:
            query = text(f"UPDATE {ACTIVITY_TABLE} SET withdraw_since = NULL WHERE id = :id")
            blocker.execute(query, {"id": ids[0]})  # as `unmark_withdrawals` does
            work = thread.submit(WORKS["dispatched"], engine, ids)
            eventually(lambda: ended_or_waits(database, work) == "waits")
        work.result(timeout=10)
        with engine.connect() as connection:
            assert {w.id for w in reading.withdrawals(connection, QUEUE, UUID(int=0), 10_000)} >= set(ids)
