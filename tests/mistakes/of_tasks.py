"""What the tasks and the workers of an installation show when something is wrong."""

from __future__ import annotations

from tests.mistakes.clinic import KEYS, Clinic
from tests.mistakes.mistake import FAIL, WARN, Mistake, activities, by_sql, key, row

OLD = "now() - interval '100 days'"


def many(id: str, count: int, status: str) -> Mistake:
    """That many activities in this status, dispatched and new."""
    return Mistake(
        id=id,
        grade=WARN,
        make=by_sql(activities(count, status)),
        repair=by_sql("DELETE FROM agentexec_activity"),
    )


def tasks_without_workers(clinic: Clinic) -> None:
    clinic.server.zadd(KEYS.seen, {"w1": 1, "w2": 1})
    clinic.put()


def no_tasks_and_workers(clinic: Clinic) -> None:
    clinic.server.zadd(KEYS.seen, {"w1": 4e12, "w2": 4e12})
    clinic.sql("DELETE FROM agentexec_activity")


MISTAKES = (
    key("tasks.dead-letters", WARN, lambda s: s.zadd(KEYS.dlq, {"x": 1}), lambda s: s.delete(KEYS.dlq)),
    key(
        "tasks.workers",
        WARN,
        lambda s: s.zadd(KEYS.seen, {"w1": 1, "w2": 1}),
        lambda s: s.zadd(KEYS.seen, {"w1": 4e12, "w2": 4e12}),
    ),
    key(
        "tasks.settings-agree",
        WARN,
        lambda s: s.hset(KEYS.cfg, "set:max_task_retries", "9"),
        lambda s: s.hset(KEYS.cfg, "set:max_task_retries", "3"),
    ),
    Mistake(
        id="tasks.workers", grade=FAIL, make=tasks_without_workers, repair=no_tasks_and_workers, says="wait"
    ),
    many("tasks.queue-depth", 1001, "queued"),
    many("tasks.error-rate", 30, "error"),
    row("tasks.outbox-lag", WARN, created_at="now() - interval '2 minutes'", dispatched_at="NULL"),
    row("tasks.outbox-lag", FAIL, created_at=OLD, dispatched_at="NULL"),
    row("tasks.stuck-running", FAIL, "1 without", status="'running'", fence="7", updated_at=OLD),
    row("tasks.withdrawals", WARN, status="'canceled'", withdraw_since=OLD),
    row("tasks.cleanup", FAIL, "100.0 days old", status="'complete'", updated_at=OLD),
)
