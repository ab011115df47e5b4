"""A mistake: what makes it, what repairs it, and what the doctor has to say; with short forms for usual ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import redis

from harness.doctor.check import Grade
from tests.mistakes.clinic import GOOD, QUEUE, Clinic

FAIL, WARN = Grade.FAIL, Grade.WARN
Break = Callable[[Clinic], None]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """`repair` None stands for the commands of the doctor's own remedy."""

    id: str
    grade: Grade
    make: Break
    repair: Break | None = None
    says: str = ""


def activities(count: int, status: str) -> str:
    """The statement that inserts so many activities in this status, dispatched and new."""
    return f"""INSERT INTO agentexec_activity (id, agent_id, queue_name, agent_type, status, fence, attempt,
            failures, priority, context, dispatched_at)
        SELECT gen_random_uuid(), gen_random_uuid(), '{QUEUE}', 't', '{status}', 0, 0, 0, 0, '{{}}', now()
        FROM generate_series(1, {count})"""


def by_sql(*statements: str) -> Break:
    return lambda clinic: clinic.sql(*statements)


def system(setting: str, value: str) -> Break:
    return by_sql(f"ALTER SYSTEM SET {setting} = {value}", "SELECT pg_reload_conf()")


def config(name: str, value: str) -> Break:
    return lambda clinic: clinic.send("CONFIG", "SET", name, value)


def variable(name: str, value: str | None) -> Break:
    if value is None:
        return lambda clinic: clinic.environment.delenv(name)
    return lambda clinic: clinic.environment.setenv(name, value)


def wrong_variable(id: str, grade: Grade, name: str, value: str | None, says: str = "") -> Mistake:
    return Mistake(
        id=id, grade=grade, make=variable(name, value), repair=variable(name, GOOD.get(name)), says=says
    )


def wrong_everywhere(id: str, grade: Grade, name: str, value: str) -> Mistake:
    """As `wrong_variable`, for a setting that the pools of a queue share: they all have it."""

    def make(clinic: Clinic) -> None:
        clinic.environment.setenv(name, value)
        clinic.pools_agree()

    def repair(clinic: Clinic) -> None:
        variable(name, GOOD.get(name))(clinic)
        clinic.pools_agree()

    return Mistake(id=id, grade=grade, make=make, repair=repair)


def row(id: str, grade: Grade, says: str = "", **columns: str) -> Mistake:
    return Mistake(
        id=id,
        grade=grade,
        make=lambda clinic: clinic.put(**columns),
        repair=by_sql("DELETE FROM agentexec_activity"),
        says=says,
    )


def key(
    id: str, grade: Grade, make: Callable[[redis.Redis], object], undo: Callable[[redis.Redis], object]
) -> Mistake:
    return Mistake(
        id=id,
        grade=grade,
        make=lambda c: unanswered(make(c.server)),
        repair=lambda c: unanswered(undo(c.server)),
    )


def unanswered(_: object) -> None:
    return None
