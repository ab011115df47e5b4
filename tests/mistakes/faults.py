"""What happens to an installation sooner or later, and what a mistake makes of it. Each is a frozen value."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.environments.base import Endpoints, FileAccess
from harness.environments.redis_connection import RedisConnection
from harness.faults.backends import TERMINATE
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.postgres_states import count_of, postgres_of
from harness.faults.process import ScaleToZero, pool_at_gate, some_workers
from harness.faults.redis_memory import redis_of
from harness.faults.restarting import killable
from harness.history import InjectionKind
from harness.processes import descendants, send


@dataclass(frozen=True, kw_only=True)
class OnServers:
    """A fault of a server without a victim of its own, and without a heal."""

    at: float
    gated: bool = False
    kind: InjectionKind = InjectionKind.OTHER

    @property
    def name(self) -> str:
        """The name in the history."""
        return type(self).__name__

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool."""
        return Aim(pids=(), pool=some_workers(context)[0])

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """What is lost stays lost, and the mistake stays."""


def endpoints_of(context: FaultContext) -> Endpoints:
    assert context.environment is not None, "each of these runs has servers"
    return context.environment.endpoints


@dataclass(frozen=True, kw_only=True)
class HostOfPostgresCrashes(OnServers):
    """The host crashes: of the last `lag` seconds, the WAL has what Postgres had flushed to the disk.

    With `fsync = off` it has flushed nothing: the kernel writes when it likes, about 30 s later. So the WAL is cut
    where it was at the beginning. With `fsync = on` all commits are on the disk, and nothing is cut.
    """

    lag: float = 1.0
    kind: InjectionKind = InjectionKind.DATA_LOSS

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Note the end of the WAL, wait, kill all processes, and write zeros behind that end."""
        with postgres_of(endpoints_of(context)) as postgres:
            row = postgres.execute(
                "SELECT current_setting('fsync'), current_setting('data_directory'), pg_walfile_name(l),"
                " (pg_walfile_name_offset(l)).file_offset FROM pg_current_wal_insert_lsn() AS l"
            ).fetchone()
            assert row is not None
            time.sleep(self.lag)
            killable(context).kill("postgres")
        fsync, folder, name, end = row
        if fsync == "off":
            files: object = context.environment
            assert isinstance(files, FileAccess)
            path = f"{folder}/pg_wal/{name}"
            data = files.read_file("postgres", path)
            files.write_file("postgres", path, data[:end].ljust(len(data), b"\0"))

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Start Postgres, which recovers from its WAL."""
        killable(context).restart("postgres")


@dataclass(frozen=True, kw_only=True)
class MemoryFills(OnServers):
    """Redis reaches `maxmemory` for `seconds`, and does what its policy says."""

    seconds: float = 1.5

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Lower the limit to a quarter of what is used beside the fixed part."""
        with redis_of(endpoints_of(context)) as redis:
            memory, before = redis.info("memory"), redis.setting("maxmemory") or b"0"
            fixed = int(memory.get("used_memory_startup", 0))
            redis.call("CONFIG", "SET", "maxmemory", fixed + (int(memory["used_memory"]) - fixed) // 4)
            time.sleep(self.seconds)
            redis.call("CONFIG", "SET", "maxmemory", before)


@dataclass(frozen=True, kw_only=True)
class SendsToRedis(OnServers):
    """Another client sends a command to a database of Redis."""

    command: tuple[str, ...]
    database: int = 0

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Send it."""
        parts = urlsplit(endpoints_of(context).redis_url)
        with RedisConnection(parts._replace(path=f"/{self.database}").geturl(), timeout=2) as redis:
            redis.call(*self.command)


@dataclass(frozen=True, kw_only=True)
class SessionsBeginAgain(OnServers):
    """All sessions of the role of the pools end, as in a restart; before that, an operator runs `statements`."""

    role: str
    statements: tuple[str, ...] = ()
    kind: InjectionKind = InjectionKind.DISCONNECT

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Run them as the owner, then terminate the sessions."""
        with postgres_of(endpoints_of(context)) as postgres:
            for statement in self.statements:
                postgres.execute(statement.encode())
            count_of(postgres, f"{TERMINATE} AND usename = %s", self.role)


@dataclass(frozen=True, kw_only=True, slots=True)
class StopsForGood(ScaleToZero):
    """The only pool is stopped, and no other one starts."""

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class OrchestratorStops:
    """An orchestrator stops a pool whose handler runs for `runs` seconds more: SIGTERM, and SIGKILL after `grace`.

    A second pool is up. `graceful` is the pool's graceful time-out. All are seconds.
    """

    at: float
    graceful: float
    grace: float
    runs: float = 2.0
    gated: bool = True
    name: str = "orchestrator-stops"
    kind: InjectionKind = InjectionKind.STOP

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """The pool whose handler waits at the gate; starts the second pool first."""
        pool = pool_at_gate(context, planned)
        context.pools.start()
        value = {"pid": pool.pid, "graceful": self.graceful}
        return Aim(pids=tuple(pool.worker_pids()), pool=pool, value=value)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Send SIGTERM, open the gate in time, and send SIGKILL to what is left at the end of the grace."""
        processes = [aim.pool.pid, *descendants(aim.pool.pid)]
        aim.pool.terminate()
        ended = aim.pool.wait(min(self.runs, self.grace))
        if not ended and self.grace > self.runs:
            context.gates.open(planned.gate)
            ended = aim.pool.wait(self.grace - self.runs)
        if not ended:
            send(processes, signal.SIGKILL)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Open the gate for the next run of the task."""
        context.gates.open(planned.gate)
