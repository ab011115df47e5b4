"""Every Redis key name of the project, in one place.

All keys of a queue share the hash tag `{name}`, so they live in one slot of a Redis Cluster and a script may
touch them all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

PRIORITY_LEVELS = 2

# In the order in which every Lua script receives them (lua/common.lua); the ready lists follow.
PLAIN_KEYS = (
    "job", "fence", "lease", "own", "held", "sched", "dlq", "reason",
    "crash", "cancel", "last", "gone", "workers", "wake", "cfg", "part", "busy", "parked",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue."""

    job: str  # hash id -> priority digit + payload; kept until the task is finished
    fence: str  # string, the last token given
    lease: str  # zset id -> deadline, server clock in ms
    own: str  # hash id -> token|worker
    held: str  # zset worker|id at score 0: what each worker holds
    sched: str  # zset id -> due time, server clock in ms
    dlq: str  # zset id -> time of death, ms
    reason: str  # hash id -> why it is in the dlq
    crash: str  # hash id -> deliveries that ended with the death of the worker
    cancel: str  # hash id -> 1, a running task that somebody wants stopped
    last: str  # hash worker -> nonce and reply of its last STEP
    gone: str  # zset worker -> time, ms; workers that were declared dead
    workers: str  # hash worker -> host|pid|start time
    wake: str  # list of tokens idle workers block on
    cfg: str  # hash: epoch, rebuilding, turn, seq, set:NAME (how the pools are set)
    part: str  # hash id -> partition
    busy: str  # hash partition -> the one task of it that is ready, scheduled for a retry, or leased
    parked: str  # zset partition|sequence|id at score 0: tasks that wait behind that one
    ready: tuple[str, ...]  # one list per priority, highest first

    @classmethod
    def of(cls, queue_name: str) -> QueueKeys:
        """The keys of the queue `queue_name`."""
        ready = tuple(f"{{{queue_name}}}:p{level}" for level in range(PRIORITY_LEVELS))
        return cls(**{name: f"{{{queue_name}}}:{name}" for name in PLAIN_KEYS}, ready=ready)

    def all(self) -> list[str]:
        """Every key, in script order: KEYS[1] is `job`, the ready lists come last."""
        return [*(getattr(self, name) for name in PLAIN_KEYS), *self.ready]


def result_key(agent_id: UUID | str) -> str:
    """Where the result of a task is kept for `AGENTEXEC_RESULT_TTL` seconds."""
    return f"result:{agent_id}"


def partition_name(lock_key: str) -> str:
    """A lock key as the scripts know it: of one length, and without the characters that separate."""
    # Half of a surrogate pair is no text for UTF-8, but JSON can hold it, and a worker has to live with it.
    return hashlib.blake2b(lock_key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
