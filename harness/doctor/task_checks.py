"""Checks of the tasks and the workers: what waits, what is stuck, who is alive, what is kept too long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.status import PENDING, TERMINAL, Status, sql_in
from harness.doctor.area import Area
from harness.doctor.check import (
    Box,
    CheckFinding,
    check,
    failed,
    passed,
    warned,
    within,
)
from harness.doctor.installation import Installation
from harness.doctor.unanswered import CannotTell

_tasks = partial(check, area=Area.TASKS)
OUTBOX_WARN, OUTBOX_FAIL = 60.0, 600.0  # seconds; a pool dispatches after 2 to 3
WITHDRAWAL_SECONDS = 300.0
DEEP_QUEUE = 1000  # the production guide's threshold
ERROR_SHARE, FEW_TASKS, LAST_TASKS = 0.05, 20, 1000
STUCK_LIMIT = 200
PREFIX_OF_SETTINGS = b"set:"


@_tasks(
    "tasks.workers",
    asks="Are at least two workers alive?",
    why="Without a worker no task runs; with one, its death is a pause of the whole queue.",
    remedy="Start a pool: agentexec worker MODULE:POOL. See its log if it does not start.",
    scenario="scale-to-zero",
)
def workers(site: Installation) -> CheckFinding:
    """Workers that noted within two leases that they live, by the clock of Redis."""
    now = 1000 * (time.time() + site.redis.clock_offset())
    since = round(now - 2000 * site.settings.lease_seconds)
    alive = site.redis.number("ZCOUNT", site.keys.seen, since, "+inf")
    seen = f"{alive} alive, {site.redis.number('HLEN', site.keys.workers)} registered"
    if alive == 0 and _pending(site):
        return failed(f"{seen}, and tasks wait")
    return passed(seen) if alive > 1 else warned(seen)


@_tasks(
    "tasks.settings-agree",
    asks="Did the pool that started last have the settings of this environment?",
    why="A pool with fewer retries makes dead letters of tasks that another one would run again.",
    remedy="Give all pools of the queue the same settings, and restart those that differ.",
)
def settings_agree(site: Installation) -> CheckFinding:
    """What a pool writes into the queue when it starts."""
    words = cast("list[bytes]", site.redis.call("HGETALL", site.keys.cfg))
    stored = {
        key.removeprefix(PREFIX_OF_SETTINGS).decode(): value.decode("utf-8", "replace")
        for key, value in zip(words[::2], words[1::2], strict=True)
        if key.startswith(PREFIX_OF_SETTINGS)
    }
    if not stored:
        raise CannotTell("no pool of this queue has started yet")
    known = {
        name: getattr(site.settings, name) for name in stored if name in type(site.settings).model_fields
    }
    others = [
        f"{name} is {mine:.15g} here, {stored[name]} there"
        for name, mine in known.items()
        if f"{mine:.15g}" != stored[name]
    ]
    return warned("; ".join(others)) if others else passed("they agree")


@_tasks(
    "tasks.queue-depth",
    asks="Do at most 1,000 tasks wait?",
    why="Callers wait for all tasks before theirs.",
    remedy="Add workers (agentexec worker --workers), or find what makes tasks slow.",
)
def queue_depth(site: Installation) -> CheckFinding:
    """Pending rows of this queue; counted up to the threshold."""
    row = site.postgres.row(
        f"""SELECT count(*) AS n FROM (SELECT FROM {ACTIVITY_TABLE} WHERE queue_name = %(q)s
            AND status {sql_in({Status.QUEUED})} LIMIT {DEEP_QUEUE + 1}) AS waiting""",
        q=site.settings.queue_name,
    )
    return warned(f"more than {DEEP_QUEUE:,}") if row.n > DEEP_QUEUE else passed(f"{row.n:,}")


@_tasks(
    "tasks.outbox-lag",
    asks="Is each recorded task dispatched within a minute?",
    why="Such a task is safe in Postgres, but no worker gets it: no pool is alive, or it cannot reach Redis.",
    remedy="Start a pool, or repair its connection to Redis; it dispatches what waits.",
    scenario="kill-producer",
)
def outbox_lag(site: Installation) -> CheckFinding:
    """The age of the oldest pending row that is not dispatched."""
    row = site.postgres.row(
        f"""SELECT coalesce(max(extract(epoch FROM clock_timestamp() - created_at)), 0)::float8 AS lag FROM (
            SELECT created_at FROM {ACTIVITY_TABLE} WHERE queue_name = %(q)s AND status {sql_in(PENDING)}
                AND dispatched_at IS NULL ORDER BY id LIMIT 100) AS first""",
        q=site.settings.queue_name,
    )
    return within(row.lag, warn=OUTBOX_WARN, fail=OUTBOX_FAIL, seen=f"{row.lag:,.0f} s")


@_tasks(
    "tasks.stuck-running",
    asks="Has each RUNNING task a lease?",
    why="A row that says RUNNING while no worker runs it misleads operators, and its caller waits.",
    remedy="Start a pool: its reconciler queues such tasks again within AGENTEXEC_RECONCILE_SECONDS.",
    scenario="flush-redis",
)
def stuck_running(site: Installation) -> CheckFinding:
    """Rows that did not change for a lease and a comparison, read before and after Redis is asked."""
    before = _running(site)
    leases = site.redis.calls([("ZSCORE", site.keys.lease, id_) for id_ in before])
    free = [id_ for id_, score in zip(before, leases, strict=True) if score is None]
    after = _running(site) if free else {}
    stuck = [id_ for id_ in free if after.get(id_) == before[id_]]
    return failed(f"{len(stuck)} without, such as {stuck[0]}") if stuck else passed("all have")


@_tasks(
    "tasks.withdrawals",
    asks="Has the queue answered each cancel within five minutes?",
    why="A canceled task may still run.",
    remedy="Start a pool, or restart the worker that runs the task.",
    scenario="cancel-statements",
)
def withdrawals(site: Installation) -> CheckFinding:
    """withdraw_since of the record."""
    row = site.postgres.row(
        f"""SELECT count(*) AS n FROM {ACTIVITY_TABLE} WHERE queue_name = %(q)s AND withdraw_since IS NOT NULL
            AND withdraw_since < clock_timestamp() - make_interval(secs => {WITHDRAWAL_SECONDS})""",
        q=site.settings.queue_name,
    )
    return warned(f"{row.n:,} wait for longer") if row.n else passed("none waits")


@_tasks(
    "tasks.dead-letters",
    asks="Are there no dead letters?",
    why="Each is a task that was given up, and whose caller got no result.",
    remedy="See why with agentexec dlq list, then requeue or purge them.",
    commands=("agentexec dlq list",),
    scenario="poison-task-with-neighbours",
)
def dead_letters(site: Installation) -> CheckFinding:
    """Of the queue."""
    count = site.redis.number("ZCARD", site.keys.dlq)
    return warned(f"{count:,}") if count else passed("none")


@_tasks(
    "tasks.error-rate",
    asks="Did at most 5 % of the last tasks fail?",
    why="It is the production guide's threshold.",
    remedy="See agentexec activities list --status error.",
    commands=("agentexec activities list --status error",),
)
def error_rate(site: Installation) -> CheckFinding:
    """Of the last thousand tasks that ended."""
    row = site.postgres.row(
        f"""SELECT count(*) AS n, count(*) FILTER (WHERE status {sql_in({Status.ERROR})}) AS wrong FROM (
            SELECT status FROM {ACTIVITY_TABLE} WHERE status {sql_in(TERMINAL)}
            ORDER BY updated_at DESC LIMIT {LAST_TASKS}) AS last"""
    )
    if row.n < FEW_TASKS:
        raise CannotTell(f"only {row.n} tasks have ended")
    seen = f"{row.wrong / row.n:.1%} of the last {row.n:,}"
    return warned(seen) if row.wrong / row.n > ERROR_SHARE else passed(seen)


@_tasks(
    "tasks.cleanup",
    box=Box.CLEANUP,
    asks="Is no ended task older than the retention (--retention-days, default 30)?",
    why="Tables that only grow make backups, restores and index scans slower each day.",
    remedy="Run agentexec cleanup each day, by cron or a CronJob, with a role that may DELETE.",
    commands=("agentexec cleanup --days 30",),
    scenario="cleanup-under-load",
)
def cleanup(site: Installation) -> CheckFinding:
    """Two days more than the retention are allowed, for a job that runs once a day."""
    row = site.postgres.row(
        f"""SELECT coalesce(extract(epoch FROM clock_timestamp() - min(updated_at)), 0)::float8 / 86400 AS days
        FROM {ACTIVITY_TABLE} WHERE status {sql_in(TERMINAL)}"""
    )
    seen = f"the oldest ended task is {row.days:,.1f} days old"
    return failed(seen) if row.days > site.options.retention_days + 2 else passed(seen)


def _pending(site: Installation) -> bool:
    row = site.postgres.row(
        f"SELECT EXISTS (SELECT FROM {ACTIVITY_TABLE} WHERE queue_name = %(q)s AND status {sql_in(PENDING)}) AS some",
        q=site.settings.queue_name,
    )
    return bool(row.some)


def _running(site: Installation) -> Mapping[str, int]:
    """The fence of RUNNING rows by id that did not change for two leases and a comparison."""
    settings = site.settings
    rows: list[Any] = site.postgres.rows(
        f"""SELECT id::text, fence FROM {ACTIVITY_TABLE} WHERE queue_name = %(q)s
            AND status {sql_in({Status.RUNNING})} AND updated_at < clock_timestamp() - make_interval(secs => %(s)s)
        ORDER BY id LIMIT {STUCK_LIMIT}""",
        q=settings.queue_name,
        s=2 * settings.lease_seconds + settings.reconcile_seconds,
    )
    return {row.id: row.fence for row in rows}
