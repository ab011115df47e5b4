"""The mistakes of which no run shows a loss or a stall of tasks, by the reason."""

from __future__ import annotations

NOT_SHOWN = (
    (
        ("redis.replication", "redis.password"),
        "No task moves while Redis is a replica, as which a stranger can leave it; but on one the run cannot count the "
        "tasks of the queue either, so its verdict is UNKNOWN.",
    ),
    (
        ("postgres.synchronous-commit",),
        "agentexec sets it back for its own sessions, so a crash loses nothing. Behind a pooler it cannot; there a run "
        "does not reach its servers for seconds after the crash, and so is no evidence.",
    ),
    (
        ("postgres.full-page-writes",),
        "A page is torn only if the power fails in the middle of its write, which no process can imitate.",
    ),
    (
        ("redis.appendfsync",),
        "`lose-redis-tail` takes three seconds under `no` and is VALID: the record restores each task; only the delay "
        "of a retry is lost.",
    ),
    (
        ("indexes.present", "indexes.valid", "indexes.used", "tables.statistics", "tables.dead-rows"),
        "Each look for work reads the whole table, so tasks become late as it grows, over weeks; EXPLAIN shows it "
        "in the table above.",
    ),
    (
        ("postgres.autovacuum", "postgres.long-transactions"),
        "Scans slow down with every task of days; none is lost.",
    ),
    (
        ("postgres.held-snapshots",),
        "The disk fills over days; `fill-disk` is VALID: Postgres refuses until there is space, and nothing is lost.",
    ),
    (
        ("postgres.deadlocks",),
        "`storm-deadlocks` is VALID: Postgres ends one transaction, and it is sent again.",
    ),
    (
        ("postgres.time-zone",),
        "agentexec stores times with their zone; a clean-up of the user's own may not.",
    ),
    (
        ("tables.migrations", "tables.present", "settings.valid", "machine.python"),
        "A pool does not start, and says why; the tasks wait in the record until it does.",
    ),
    (
        ("tables.role-superuser", "tables.role-changes", "redis.protected-mode"),
        "It costs nothing until a stranger has the password; `redis.password` shows what one does then.",
    ),
    (
        ("redis.maxmemory", "files.memory-limits", "machine.memory"),
        "The kernel would end processes of the machine that runs the test; `exhaust-memory` shows it within a limit.",
    ),
    (
        ("redis.maxclients", "redis.idle-timeout", "redis.tcp-keepalive", "redis.slow-commands"),
        "Clients connect again: `kill-redis-clients` and `occupy-redis` are VALID; tasks are late meanwhile.",
    ),
    (
        ("machine.cores",),
        "Handlers share the cores, so tasks are late; none is lost.",
    ),
    (
        ("settings.time-limit",),
        "A handler that hangs holds its slot for ever, and the drain of a run would wait for it as long.",
    ),
    (
        (
            "redis.headroom",
            "redis.evicted-keys",
            "tasks.queue-depth",
            "tasks.error-rate",
            "tasks.outbox-lag",
            "tasks.stuck-running",
            "tasks.withdrawals",
            "tasks.dead-letters",
        ),
        "What a mistake leaves behind, and no mistake itself.",
    ),
    (
        (
            "settings.log-format",
            "settings.metrics-port",
            "settings.rate-limit",
            "settings.api-keys",
            "settings.key-rotation",
            "settings.key-age",
            "tasks.cleanup",
            "files.secrets",
            "files.network-policy",
            "files.probes",
            "files.disruption-budget",
            "files.replicas",
            "files.alerts",
            "files.cleanup-job",
            "files.backup-age",
            "files.load-test",
            "files.log",
        ),
        "It endangers secrets, callers or operators, or only together with another failure; no task of a run.",
    ),
    (
        ("postgres.clock", "redis.clock"),
        "No mistake is made: servers and doctor share the clock of one machine. `jump-clock` lets that of a worker "
        "jump by an hour, and is VALID.",
    ),
)
