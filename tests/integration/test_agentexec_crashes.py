"""A task that ends its worker process, beside tasks that do not: only the one is charged, in real pools."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conftest import Eventually
from tests.support.pool_process import App
from tests.support.record import require_sound, rows_of

pytestmark = pytest.mark.integration

MAX_CRASHES = 2
LATER = 60.0  # seconds
EXITS, KILLS = 100, 101  # the numbers of tasks that end their worker: os._exit(1), SIGKILL
BESIDE = range(7)  # the numbers of those beside them


def enqueue_beside(
    app: App, eventually: Eventually, *numbers: int, name: str = "die"
) -> tuple[list[UUID], list[UUID]]:
    """Enqueue tasks of which the fatal ones wait until all have begun; returns these and the others.

    The others wait in their first two runs, so that the death of their worker always hits them.
    """
    fatal = app.enqueue(*numbers, name=name, hold=[1])
    others = app.enqueue(*BESIDE, hold=[1, 2])
    eventually(lambda: all(app.begun(number) for number in (*numbers, *BESIDE)), deadline=LATER)
    for number in numbers:
        app.let_go(number)
    return fatal, others


def require_only_the_fatal_ones_end(
    app: App, eventually: Eventually, fatal: list[UUID], others: list[UUID]
) -> None:
    eventually(lambda: set(app.statuses(fatal)) == {"error"}, deadline=LATER)
    for number in BESIDE:
        for attempt in (1, 2):
            app.let_go(number, attempt)
    eventually(lambda: app.all_complete(others), deadline=LATER)
    rows = rows_of(app.client.engine, [*fatal, *others])
    assert all(rows[task].attempt <= 3 for task in others), "another task lost its worker again and again"
    assert all(rows[task].attempt <= MAX_CRASHES + 3 for task in fatal)
    crashes = app.client.queue.client.hgetall(app.client.queue.keys.crash)
    assert crashes == {str(task).encode(): b"%d" % (MAX_CRASHES + 1) for task in fatal}
    for row in rows.values():
        require_sound(row)
    assert app.client.queue.depth().dead == len(fatal)
    eventually(lambda: app.client.queue.depth().known == len(fatal), deadline=LATER)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [EXITS, KILLS])
def test_a_task_that_ends_its_worker_takes_no_other_along(
    app: App, eventually: Eventually, number: int, workers: int
) -> None:
    app.pool(num_workers=workers, worker_concurrency=8, max_crashes=MAX_CRASHES)
    fatal, others = enqueue_beside(app, eventually, number)
    require_only_the_fatal_ones_end(app, eventually, fatal, others)


def test_two_such_tasks_end_and_take_no_other_along(app: App, eventually: Eventually) -> None:
    app.pool(num_workers=2, worker_concurrency=8, max_crashes=MAX_CRASHES)
    fatal, others = enqueue_beside(app, eventually, EXITS, KILLS)
    require_only_the_fatal_ones_end(app, eventually, fatal, others)


def test_such_a_task_ends_while_new_tasks_keep_coming(app: App, eventually: Eventually) -> None:
    """The replacement of a dead worker runs it, although there is always something else to do."""
    app.pool(num_workers=2, worker_concurrency=4, max_crashes=MAX_CRASHES)
    (fatal,) = app.enqueue(KILLS, name="die")
    fresh: list[UUID] = []

    def ended() -> bool:
        fresh.extend(app.enqueue(*range(1000 + len(fresh), 1008 + len(fresh))))
        return app.statuses([fatal]) == ["error"]

    eventually(ended, deadline=LATER)
    eventually(lambda: app.all_complete(fresh), deadline=LATER)
    assert max(row.attempt for row in rows_of(app.client.engine, fresh).values()) <= 3


def test_the_lock_key_of_such_a_task_is_free_after_its_end(app: App, eventually: Eventually) -> None:
    app.pool(num_workers=1, worker_concurrency=8, max_crashes=MAX_CRASHES)
    fatal, others = enqueue_beside(app, eventually, KILLS, name="die-locked")
    behind = app.enqueue(50, name="work-locked")
    require_only_the_fatal_ones_end(app, eventually, fatal, others)
    eventually(lambda: app.all_complete(behind), deadline=LATER)


def test_the_tasks_of_a_pool_that_is_killed_twice_are_not_charged(app: App, eventually: Eventually) -> None:
    """Another pool finds that its processes are gone."""
    first = app.pool(num_workers=1, worker_concurrency=8, max_crashes=0)
    tasks = app.enqueue(*BESIDE, hold=[1, 2])
    eventually(lambda: all(app.begun(number) for number in BESIDE), deadline=LATER)
    first.kill_all()
    second = app.pool(num_workers=1, worker_concurrency=8, max_crashes=0)
    eventually(lambda: all(app.begun(number, 2) for number in BESIDE), deadline=LATER)
    second.kill_all()
    app.pool(num_workers=2, max_crashes=0)
    eventually(lambda: app.all_complete(tasks), deadline=LATER)
    assert app.client.queue.client.hgetall(app.client.queue.keys.crash) == {}
    assert {app.row(task).attempt for task in tasks} == {3}
