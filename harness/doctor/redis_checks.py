"""Checks of the Redis server: protection, persistence, memory, and what it counted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from harness.doctor.area import Area
from harness.doctor.check import (
    Box,
    CheckFinding,
    check,
    failed,
    passed,
    redis_cli,
    skipped,
    warned,
    within,
)
from harness.doctor.installation import Installation
from harness.doctor.postgres_checks import clocks_agree, unencrypted
from harness.doctor.unanswered import CannotTell
from harness.environments.base import MINIMUM_REDIS

_redis = partial(check, area=Area.REDIS)
KEEP = " Write it to redis.conf too (CONFIG REWRITE)."
HEADROOM_WARN, HEADROOM_FAIL = 0.8, 0.95
SLOW_ROUND_TRIP = 0.01  # seconds
SLOW_COMMAND = 0.1  # seconds
REPLICA_LAG = 10  # seconds
PAGES, KEYS_OF_PAGE = 5, 1000
SHORT_IDLE, LONGEST_KEEPALIVE = 60, 3600  # seconds


@_redis(
    "redis.answers",
    asks="Does Redis accept a connection and a PING within 2 s?",
    why="Without it tasks are recorded and wait; the other checks of Redis cannot be answered.",
    remedy="Correct REDIS_URL, start the server, or open the network to it.",
)
def answers(site: Installation) -> CheckFinding:
    """Also the password and the database number are those of the URL."""
    redis, mode = site.redis, "which may not send INFO"
    with suppress(CannotTell):
        mode = redis.info("server").get("redis_mode", "standalone")
    return passed(f"connected, {mode}")


@_redis(
    "redis.version",
    asks="Is the server Redis 7 or newer, or a Valkey?",
    why="agentexec's scripts need commands of Redis 7.",
    remedy="Upgrade the server.",
)
def version(site: Installation) -> CheckFinding:
    """The version of Redis that the server is compatible with."""
    return of_server(site.redis.info("server"))


def of_server(info: Mapping[str, str]) -> CheckFinding:
    """The finding for the fields of INFO server."""
    found = info.get("redis_version", "0")
    seen = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {found}"
    return passed(seen) if int(found.partition(".")[0]) >= MINIMUM_REDIS[0] else failed(seen)


@_redis(
    "redis.cluster",
    asks="Is the server no node of a cluster?",
    why="A pool refuses to start: the scripts of a queue change keys of several slots together.",
    remedy="Use one server, or a primary with Sentinels.",
)
def cluster(site: Installation) -> CheckFinding:
    """cluster_enabled."""
    enabled = site.redis.info("cluster").get("cluster_enabled") == "1"
    return failed("cluster mode") if enabled else passed("no cluster")


@_redis(
    "redis.tls",
    asks="Is this very connection encrypted?",
    why="The password and the contexts of all tasks cross the network in clear text.",
    remedy="Set tls-port with a certificate, and write rediss:// in REDIS_URL.",
)
def tls(site: Installation) -> CheckFinding:
    """By the scheme with which the doctor connected."""
    parts = urlsplit(site.redis.url)
    if parts.scheme == "rediss":
        return passed("encrypted")
    return unencrypted("" if parts.scheme == "unix" else parts.hostname or "")


@_redis(
    "redis.password",
    box=Box.REDIS_PROTECTION,
    asks="Does the server refuse a client without a password?",
    why="Anyone who reaches the port reads all contexts, adds tasks of any name, and can empty the queue.",
    remedy="Set requirepass, or take the rights of the user default away." + KEEP,
    commands=(redis_cli("CONFIG SET requirepass NEW-PASSWORD"),),
    scenario="rotate-redis-password",
)
def password(site: Installation) -> CheckFinding:
    """By a second connection without credentials, which needs no right to read ACLs."""
    open_to_all = site.redis.open_without_password()
    return failed("a client without a password may send PING") if open_to_all else passed("it does")


@_redis(
    "redis.protected-mode",
    asks="Is protected mode on?",
    why="If the password is ever removed, the port is open to the network at once.",
    remedy="Set protected-mode yes." + KEEP,
    commands=(redis_cli("CONFIG SET protected-mode yes"),),
)
def protected_mode(site: Installation) -> CheckFinding:
    """WARN only: a password protects too."""
    value = site.redis.setting("protected-mode")
    return passed("on") if value == "yes" else warned(f"protected-mode {value}")


@_redis(
    "redis.persistence",
    box=Box.REDIS_PROTECTION,
    asks="Is the append-only file on, and does it work?",
    why="After a restart the queue is built again from the record, but crash counts and delays of retries are lost.",
    remedy="Set appendonly yes." + KEEP,
    commands=(redis_cli("CONFIG SET appendonly yes"),),
    scenario="restart-redis",
)
def persistence(site: Installation) -> CheckFinding:
    """INFO has it, so no CONFIG is needed."""
    return of_persistence(site.redis.info("persistence"))


def of_persistence(info: Mapping[str, str]) -> CheckFinding:
    """The finding for the fields of INFO persistence."""
    if info.get("aof_enabled") != "1":
        return failed("appendonly no")
    wrong = [
        name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if info.get(name) == "err"
    ]
    if wrong:
        return failed(f"{', '.join(wrong)}: err", "Free space on the disk of Redis and see its log.")
    return passed("appendonly yes")


@_redis(
    "redis.appendfsync",
    box=Box.REDIS_PROTECTION,
    asks="How much of the append-only file can a crash of the machine lose?",
    why="everysec loses about 1 s of the queue, no about 30 s. The record restores tasks, not the delays of retries.",
    remedy="Set appendfsync everysec." + KEEP,
    commands=(redis_cli("CONFIG SET appendfsync everysec"),),
    scenario="lose-redis-tail",
)
def appendfsync(site: Installation) -> CheckFinding:
    """The record is Postgres, so `no` is a warning."""
    value = site.redis.setting("appendfsync")
    return warned("appendfsync no") if value == "no" else passed(f"appendfsync {value}")


@_redis(
    "redis.maxmemory",
    asks="Is the memory limited?",
    why="Without a limit the kernel kills Redis, or another process, when the machine is full.",
    remedy="Set maxmemory below the memory of the machine or container." + KEEP,
    commands=(redis_cli("CONFIG SET maxmemory 2gb"),),
    scenario="fill-redis",
)
def maxmemory(site: Installation) -> CheckFinding:
    """INFO has it, so no CONFIG is needed."""
    limit = _limit(site)
    return passed(f"{limit / 2**20:,.0f} MiB") if limit else warned("no limit")


@_redis(
    "redis.maxmemory-policy",
    asks="Does a full server refuse writes instead of evicting keys?",
    why="allkeys-* evicts parts of the queue: an evicted lease is a task that may run twice, an evicted task "
    "waits until the comparison restores it. volatile-* evicts results and the names of living workers.",
    remedy="Set maxmemory-policy noeviction; the production guide's allkeys-lru is for caches." + KEEP,
    commands=(redis_cli("CONFIG SET maxmemory-policy noeviction"),),
    scenario="evict-redis",
)
def maxmemory_policy(site: Installation) -> CheckFinding:
    """INFO has it, so no CONFIG is needed."""
    policy = site.redis.info("memory").get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return passed(policy)
    return failed(policy) if policy.startswith("allkeys") else warned(policy)


@_redis(
    "redis.headroom",
    asks="Is less than 80 % of the memory used?",
    why="At the limit Redis refuses claims and new tasks; they wait in the record.",
    remedy="Raise maxmemory, lower AGENTEXEC_RESULT_TTL, or find what else is in this Redis (redis.shared).",
    scenario="fill-redis",
)
def headroom(site: Installation) -> CheckFinding:
    """used_memory against maxmemory."""
    limit = _limit(site)
    if not limit:
        return skipped("there is no limit (redis.maxmemory)")
    used = int(site.redis.info("memory")["used_memory"]) / limit
    return within(used, warn=HEADROOM_WARN, fail=HEADROOM_FAIL, seen=f"{used:.0%} used")


@_redis(
    "redis.evicted-keys",
    asks="Has the server evicted no key since its start?",
    why="Keys of the queue may have been among them.",
    remedy="Correct redis.maxmemory-policy and redis.headroom; the counter ends with CONFIG RESETSTAT or a restart.",
    scenario="evict-redis",
)
def evicted_keys(site: Installation) -> CheckFinding:
    """evicted_keys of INFO."""
    return _counter(site, "evicted_keys")


@_redis(
    "redis.rejected-connections",
    asks="Has the server refused no connection for want of places?",
    why="A worker without a connection cannot renew its leases.",
    remedy="Raise maxclients." + KEEP,
    commands=(redis_cli("CONFIG SET maxclients 10000"),),
    scenario="kill-redis-clients",
)
def rejected_connections(site: Installation) -> CheckFinding:
    """rejected_connections of INFO."""
    return _counter(site, "rejected_connections")


@_redis(
    "redis.maxclients",
    box=Box.POOLING,
    asks="Is maxclients enough for all pools, workers and API servers?",
    why="A worker without a connection cannot renew its leases, and other workers run its tasks again.",
    remedy="Raise maxclients, or lower REDIS_POOL_SIZE (docs/howto/doctor.md, Connections)." + KEEP,
    commands=(redis_cli("CONFIG SET maxclients 10000"),),
)
def maxclients(site: Installation) -> CheckFinding:
    """The formula of docs/howto/doctor.md."""
    info, settings, options = site.redis.info("clients"), site.settings, site.options
    limit = int(info["maxclients"]) if "maxclients" in info else int(site.redis.setting("maxclients"))
    of_pool = settings.num_workers * (settings.redis_pool_size + 1) + 2 * settings.redis_pool_size
    needed = options.pools * of_pool + options.api_servers * 4 * settings.redis_pool_size
    seen = f"up to {needed:,} connections, maxclients {limit:,}"
    return failed(seen) if needed > limit else passed(seen)


@_redis(
    "redis.idle-timeout",
    asks="Does the server keep idle connections?",
    why="Connections of waiting workers are closed again and again.",
    remedy="Set timeout 0." + KEEP,
    commands=(redis_cli("CONFIG SET timeout 0"),),
)
def idle_timeout(site: Installation) -> CheckFinding:
    """A time-out of a minute or more does no harm."""
    seconds = int(site.redis.setting("timeout"))
    return warned(f"timeout {seconds}") if 0 < seconds < SHORT_IDLE else passed(f"timeout {seconds}")


@_redis(
    "redis.tcp-keepalive",
    asks="Does the server notice clients whose machine is gone?",
    why="Their connections stay open for ever, and count against maxclients.",
    remedy="Set tcp-keepalive 300." + KEEP,
    commands=(redis_cli("CONFIG SET tcp-keepalive 300"),),
)
def tcp_keepalive(site: Installation) -> CheckFinding:
    """Any interval up to an hour is enough."""
    seconds = int(site.redis.setting("tcp-keepalive"))
    seen = f"tcp-keepalive {seconds}"
    return passed(seen) if 0 < seconds <= LONGEST_KEEPALIVE else warned(seen)


@_redis(
    "redis.latency",
    asks="Is a round trip shorter than 10 ms?",
    why="A worker needs a round trip for each batch, a producer for each dispatch.",
    remedy="Bring workers and Redis into one network zone; see redis-cli --latency.",
    scenario="slow-network",
)
def latency(site: Installation) -> CheckFinding:
    """The median of nine; WARN only, because this machine may be busy."""
    return of_round_trip(site.redis.round_trip())


def of_round_trip(seconds: float) -> CheckFinding:
    """The finding for the seconds of a round trip."""
    seen = f"{1000 * seconds:.2f} ms"
    return warned(seen) if seconds > SLOW_ROUND_TRIP else passed(seen)


@_redis(
    "redis.slow-commands",
    asks="Did none of the last commands take 100 ms?",
    why="Redis runs one command at a time: during a slow one no lease is renewed.",
    remedy="See SLOWLOG GET; move what runs KEYS or large scripts to another Redis.",
    commands=(redis_cli("SLOWLOG GET 10"),),
    scenario="occupy-redis",
)
def slow_commands(site: Installation) -> CheckFinding:
    """The last ten entries of the slow log; no argument of a command is shown."""
    entries = cast("list[list[int]]", site.redis.call("SLOWLOG", "GET", 10))
    slow = [entry[2] / 1e6 for entry in entries if entry[2] > SLOW_COMMAND * 1e6]
    return warned(f"{len(slow)} of them, the slowest {max(slow):.2f} s") if slow else passed("none")


@_redis(
    "redis.replication",
    asks="Is the server a primary whose replicas are close behind?",
    why="A replica refuses writes. What a replica lacks is lost to the queue at a failover.",
    remedy="Connect to the primary or to the Sentinels; see the network to the replica.",
    scenario="fail-over-redis",
)
def replication(site: Installation) -> CheckFinding:
    """The lag in seconds that INFO has for each replica."""
    return of_replication(site.redis.info("replication"))


def of_replication(info: Mapping[str, str]) -> CheckFinding:
    """The finding for the fields of INFO replication."""
    if info.get("role") != "master":
        return failed("a replica")
    replicas = [value for name, value in info.items() if name.startswith("slave") and "lag=" in value]
    lags = [int(value.partition("lag=")[2].partition(",")[0]) for value in replicas]
    seen = f"a primary with {len(lags)} replicas" + (f", at most {max(lags)} s behind" if lags else "")
    return warned(seen) if lags and max(lags) > REPLICA_LAG else passed(seen)


@_redis(
    "redis.sentinels",
    asks="Do all Sentinels of REDIS_URL answer, and is their quorum reached?",
    why="Without a quorum no replica takes over: claims and dispatches wait until the primary is back.",
    remedy="Start the missing Sentinels; an odd number on three machines survives the loss of one.",
    scenario="fail-over-redis",
)
def sentinels(site: Installation) -> CheckFinding:
    """By SENTINEL CKQUORUM, which only counts."""
    answers = site.redis.quorums()
    if not answers:
        return skipped("REDIS_URL names no Sentinels")
    wrong = [text for reached, text in answers if not reached]
    seen = f"{len(answers) - len(wrong)} of {len(answers)} have a quorum" + (f": {wrong[0]}" if wrong else "")
    if any(text.startswith("NOQUORUM") for text in wrong):
        return failed(seen)
    return warned(seen) if wrong else passed(seen)


@_redis(
    "redis.clock",
    asks="Does the server's clock agree with this machine's?",
    why="Redis times leases and delays by its own clock, Postgres the ages of rows by its own.",
    remedy="Run a time service (chrony, systemd-timesyncd) on both machines.",
    scenario="jump-clock",
)
def clock(site: Installation) -> CheckFinding:
    """Exact to half a round trip."""
    return clocks_agree(site.redis.clock_offset())


@_redis(
    "redis.shared",
    asks="Has this database only keys of agentexec?",
    why="Another application's keys fill the memory of the queue, and its FLUSHDB empties it.",
    remedy="Give the queue a Redis of its own; at least another database number.",
    scenario="flush-redis",
)
def shared(site: Installation) -> CheckFinding:
    """A sample of at most about 5,000 keys by SCAN; names of keys are not shown."""
    cursor, seen, foreign = b"0", 0, 0
    for _ in range(PAGES):
        cursor, page = cast(
            "tuple[bytes, list[bytes]]", site.redis.call("SCAN", cursor, "COUNT", KEYS_OF_PAGE)
        )
        seen += len(page)
        foreign += sum(not key.startswith((b"{", b"result:")) for key in page)
        if cursor == b"0":
            break
    return warned(f"{foreign:,} of {seen:,} keys are others'") if foreign else passed(f"{seen:,} keys seen")


def _limit(site: Installation) -> int:
    info = site.redis.info("memory")
    if "maxmemory" not in info:
        raise CannotTell("the server does not say its maxmemory")
    return int(info["maxmemory"])


def _counter(site: Installation, name: str) -> CheckFinding:
    count = int(site.redis.info("stats").get(name, "0"))
    return warned(f"{count:,} since the start") if count else passed("none")
