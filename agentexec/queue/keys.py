"""Every Redis key name of agentexec, in one place.

All keys of a queue share the hash tag `{name}`, so they are in one slot of a Redis Cluster and one script
may use them all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from uuid import UUID

PRIORITY_LEVELS = 2


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue, in the order in which every Lua script receives them (lua/common.lua)."""

    job: str  # hash id -> priority digit + payload; kept until the task is finished
    fence: str  # string, the last fencing token
    lease: str  # zset id -> deadline, server clock in ms
    holder: str  # hash id -> token|worker
    sched: str  # zset id -> due time, server clock in ms
    dlq: str  # zset id -> time of death, ms
    reason: str  # hash id -> why it is a dead letter
    crash: str  # hash id -> deaths of workers that held no other task
    cancel: str  # hash id -> 1, a running task that is to be canceled
    last: str  # hash worker -> nonce and reply of its last step
    gone: str  # zset worker -> time, ms; workers that were declared dead
    workers: str  # hash worker -> host|pid|start time
    wake: str  # list of tokens that idle workers block on
    cfg: str  # hash: server, epoch, rebuilding, turn, seq, store, quiet, names, set:NAME (the settings of the pools)
    part: str  # hash id -> partition
    busy: str  # hash partition -> the one task of it that is ready, scheduled for a retry, or leased
    parked: str  # zset partition|sequence|id at score 0: tasks that wait behind that one
    seen: str  # zset worker -> when it last noted that it lives, ms
    suspect: str  # hash id -> what the deaths of its workers count|its token at the last one
    alone: str  # zset id -> time, ms; ready tasks that run alone because of such deaths
    names: str  # hash fingerprint|name of a task -> time, ms, at which a live pool last knew it
    unknown: str  # hash id -> time, ms, at which a pool that cannot run the task first handed it back
    ready: tuple[str, ...]  # one list per priority, highest first

    @classmethod
    def of(cls, queue_name: str) -> QueueKeys:
        """The keys of the queue `queue_name`."""
        ready = tuple(f"{{{queue_name}}}:p{level}" for level in range(PRIORITY_LEVELS))
        return cls(**{name: f"{{{queue_name}}}:{name}" for name in PLAIN_KEYS}, ready=ready)

    def all(self) -> list[str]:
        """Every key, in script order: KEYS[1] is `job`, the ready lists come last."""
        return [*(getattr(self, name) for name in PLAIN_KEYS), *self.ready]


PLAIN_KEYS = tuple(field.name for field in fields(QueueKeys) if field.name != "ready")


def result_key(agent_id: UUID) -> str:
    """The key of a task's result."""
    return f"result:{agent_id}"


def partition_name(lock_key: str) -> str:
    """The partition of a lock key: of fixed length, without the characters that separate fields."""
    # JSON can hold half of a surrogate pair, which strict UTF-8 refuses.
    return hashlib.blake2b(lock_key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
