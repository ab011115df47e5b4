"""The queue protocol over Redis 7+, Valkey or any server that runs the same Lua."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Self
from uuid import UUID

import redis
from redis.exceptions import NoScriptError
from sqlalchemy import Engine

from agentexec.config import Settings
from agentexec.errors import WorkerGone
from agentexec.queue.keys import QueueKeys, partition_name, result_key
from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Disposition,
    QueueDepth,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    Tokens,
    milliseconds,
)
from agentexec.store.dialects import parts

SCRIPTS = (
    "enqueue", "step", "renew", "release", "cancel", "partition", "rebuild", "agree", "register", "adopt",
    "depth", "purge", "announce", "hand_back",
)  # fmt: skip

# One command for all results of a step. A server that has reached its maxmemory refuses it; the record has them too.
KEEP_RESULTS = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end"
# The script searches the list of ready tasks for each id, 40 ms in a list of a million. The server waits so long.
CANCEL_AT_ONCE = 5

Argument = str | bytes | int


@cache
def script_source(name: str, *, flags: bool) -> str:
    """The Lua text of a script, headed by the shared part.

    With `flags`, all scripts but `enqueue` also run on a server that has reached its maxmemory: finishes, renewals
    and releases are what frees memory again. Without them, such a server refuses all, and every lease is lost.
    """
    folder = files("agentexec.queue") / "lua"
    head = "#!lua flags=allow-oom\n" if flags and name != "enqueue" else ""
    return head + (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")


class RedisQueue:
    """One queue. Instances are cheap and may be shared between threads: the client pools its connections.

    Methods raise `redis.exceptions.RedisError` if the server is not reachable within the client's own retries; it is
    always safe to call again with the same arguments.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        policy: QueuePolicy | None = None,
        *,
        engine: Engine | None = None,
    ) -> None:
        """`engine` leads to the activity store, for dead letters."""
        self.client = client
        self.engine = engine
        self.name = name
        self.policy = policy or QueuePolicy()
        self.keys = QueueKeys.of(name)
        self._all_keys = self.keys.all()
        # A fake server has a connection class of its own, and fakeredis cannot read the line with the flags.
        flags = client.connection_pool.connection_class.__module__.startswith("redis.")
        self._scripts: dict[str, Any] = {
            script: client.register_script(script_source(script, flags=flags)) for script in SCRIPTS
        }

    @classmethod
    def of(cls, client: redis.Redis, settings: Settings, *, engine: Engine | None = None) -> Self:
        """The queue that these settings name, under their limits."""
        return cls(client, settings.queue_name, QueuePolicy.of(settings), engine=engine)

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:
        answers: list[Admission] = []
        cap = 0 if from_reconciler else self.policy.max_depth
        for part in parts(tasks, lambda task: len(task.payload)):
            if Admission.FULL in answers:  # none of the later ones has room either, so that order is kept
                return answers + [Admission.FULL] * (len(tasks) - len(answers))
            arguments: list[Argument] = [cap, int(from_reconciler)]
            for task in part:
                arguments += [str(task.task_id), _place(task), b"%d%b" % (task.level, task.payload)]
            answers += [Admission(answer) for answer in self._run("enqueue", arguments)]
        return answers

    def step(self, request: StepRequest) -> StepResult:
        lease, max_crashes = milliseconds(self.policy.lease_seconds), self.policy.max_crashes
        arguments: list[Argument] = [request.worker, request.nonce, lease, request.want]
        arguments += [request.lowest_token, max_crashes, int(request.busy)]
        for finish in request.finishes:
            delayed = finish.disposition in (Disposition.RETRY, Disposition.DEFER)
            detail = str(milliseconds(finish.delay)) if delayed else finish.reason
            arguments += [str(finish.task_id), finish.token, finish.disposition, detail]
        results = {result_key(f.task_id): f.result for f in request.finishes if f.result is not None}
        reply = self._step_after_keeping(results, arguments) if results else self._run("step", arguments)
        if reply[0] == b"GONE":
            raise WorkerGone(f"worker {request.worker} was declared dead; its leases belong to others")
        _, due, claims, accepted, requeued, dead, canceled, reserved, foreign, names = reply
        return StepResult(
            claims=_claims(*claims),
            stale=tuple(f for f, answer in zip(request.finishes, accepted, strict=True) if answer == 0),
            expired=Revocations(_tokens(requeued), _tokens(dead)),
            next_due=None if due < 0 else due / 1000,
            canceled=frozenset(map(_id, canceled)),
            reserved=bool(reserved),
            foreign=tuple(map(_text, foreign)),
            names=_text(names),
        )

    def result(self, task_id: UUID) -> str | None:
        kept = self.client.get(result_key(task_id))
        return None if kept is None else _text(kept)

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        partitions = {i: (token, partition_name(key)) for i, (token, key) in claims.items()}
        return self._divide("partition", [], partitions)

    def renew(self, worker: str, leases: Tokens) -> tuple[set[UUID], set[UUID]]:
        lease = milliseconds(self.policy.lease_seconds)
        lost, canceled = self._run("renew", [worker, lease, *_flat(leases)])
        return set(map(_id, lost)), set(map(_id, canceled))

    def release(
        self,
        worker: str | None,
        leases: Tokens | None,
        *,
        charge: bool = False,
        begun: bool = True,
        declare_gone: bool = False,
    ) -> Revocations:
        if leases is not None and not leases and not declare_gone:
            return Revocations({}, {})
        charged = 0 if not charge else 1 if begun else 2
        options: list[Argument] = [worker or "", charged, self.policy.max_crashes, int(declare_gone)]
        requeued, dead = self._run("release", [*options, *_flat(leases or {})])
        return Revocations(_tokens(requeued), _tokens(dead))

    def leases_of(self, worker: str) -> dict[UUID, int]:
        holders = self.client.hgetall(self.keys.holder)
        held = [(_text(i), *_text(value).partition("|")[::2]) for i, value in holders.items()]
        return {UUID(i): int(token) for i, token, by in held if by == worker}

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        ids = list(map(str, task_ids))
        batches = (ids[first : first + CANCEL_AT_ONCE] for first in range(0, len(ids), CANCEL_AT_ONCE))
        return [answer == 1 for batch in batches for answer in self._run("cancel", batch)]

    def wait(self, timeout: float) -> bool:
        """Block on the list of wake tokens; the client's socket time-out must be longer than `timeout`."""
        if timeout <= 0:  # BLPOP takes 0 as no time-out
            return False
        return self.client.blpop([self.keys.wake], timeout=timeout) is not None

    def depth(self) -> QueueDepth:
        """Count the tasks of each state at one moment; the cost does not grow with their number."""
        return QueueDepth(*self._run("depth", []))

    def purge(self, dead: Sequence[bytes]) -> None:
        """Delete dead letters; others are left as they are."""
        self._run("purge", dead)

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        pipe = self.client.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hexists(self.keys.job, str(task_id))
        return [bool(answer) for answer in pipe.execute()]

    def traces(self, task_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the tasks that any key of the queue still names, also where a server lost a part of the keys."""
        keys, pipe = self.keys, self.client.pipeline(transaction=True)
        for task_id in map(str, task_ids):
            pipe.hexists(keys.job, task_id)
            pipe.hexists(keys.holder, task_id)
            for states in (keys.alone, keys.lease, keys.sched, keys.dlq):
                pipe.zscore(states, task_id)
        # HEXISTS answers 0 or 1, ZSCORE a float or nothing; a score may be 0.
        found = iter([isinstance(answer, float) or bool(answer) for answer in pipe.execute()])
        return {i for i, *here in zip(task_ids, *6 * (found,), strict=True) if any(here)}

    def leases(self, task_ids: Sequence[UUID]) -> dict[UUID, int]:
        holders = self._fields(self.keys.holder, task_ids)
        return {i: int(holder.partition("|")[0]) for i, holder in holders.items()}

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        return self._fields(self.keys.reason, task_ids)

    def epoch(self) -> str:
        """The epoch that `end_rebuild` completed last; empty for a queue that is new or lost its contents."""
        return _text(self.client.hget(self.keys.cfg, "epoch") or "")

    def begin_rebuild(self, proposal: str) -> str | None:
        name = self._run("rebuild", ["begin", proposal])
        return None if name is None else _text(name)

    def end_rebuild(self, name: str) -> bool:
        return bool(self._run("rebuild", ["end", name]))

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        differing = iter(map(_text, self._run("agree", [part for item in values.items() for part in item])))
        return dict(zip(differing, differing, strict=True))

    def announce(self, fingerprints: Mapping[str, str]) -> None:
        if fingerprints:
            self._run("announce", [_bytes(f"{print_}|{name}") for name, print_ in fingerprints.items()])

    def announced(self) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for field in self.client.hkeys(self.keys.names):
            fingerprint, _, name = _text(field).partition("|")
            known.setdefault(name, set()).add(fingerprint)
        return known

    def hand_back(
        self, claims: Mapping[UUID, tuple[int, str, str]], *, limit: float, delay: float
    ) -> tuple[set[UUID], set[UUID]]:
        tasks = {i: (token, _bytes(name), fingerprint) for i, (token, name, fingerprint) in claims.items()}
        return self._divide("hand_back", [milliseconds(limit), milliseconds(delay)], tasks)

    def register(self, worker: str, identity: str) -> None:
        self._run("register", [worker, identity, milliseconds(self.policy.silence_seconds)])

    def registered(self) -> dict[str, str]:
        found = self.client.hgetall(self.keys.workers)
        return {_text(worker): _text(identity) for worker, identity in found.items()}

    def adopt(self, store: str, *, force: bool = False) -> str | None:
        other = self._run("adopt", [store, int(force)])
        return None if other is None else _text(other)

    def drop(self, *, results: Iterable[UUID] = ()) -> None:
        """Delete every key of this queue, and the results of these tasks. For tests and tear-down only."""
        self.client.delete(*self._all_keys, *map(result_key, results))

    def _run(self, script: str, arguments: Sequence[Argument]) -> Any:
        return self._scripts[script](keys=self._all_keys, args=arguments)

    def _fields(self, key: str, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The values that a hash has for tasks."""
        answers = self.client.hmget(key, [str(i) for i in task_ids]) if task_ids else []
        return {i: _text(answer) for i, answer in zip(task_ids, answers, strict=True) if answer is not None}

    def _divide(
        self, script: str, options: Sequence[Argument], claims: Mapping[UUID, Sequence[Argument]]
    ) -> tuple[set[UUID], set[UUID]]:
        """Run a script on claims; returns those that it answers with 0, and those whose token is lost."""
        arguments = [*options, *(part for i, claim in claims.items() for part in (str(i), *claim))]
        answers = dict(zip(claims, self._run(script, arguments) if claims else (), strict=True))
        return {i for i in answers if answers[i] == 0}, {i for i in answers if answers[i] == -1}

    def _step_after_keeping(self, results: Mapping[str, str], arguments: Sequence[Argument]) -> Any:
        """Keep results, then run a step, in one round trip."""
        # redis-py's Script would ask the server for its scripts before every pipeline.
        pipe = self.client.pipeline(transaction=False)
        pipe.eval(KEEP_RESULTS, len(results), *results, self.policy.result_ttl_seconds, *results.values())
        pipe.evalsha(self._scripts["step"].sha, len(self._all_keys), *self._all_keys, *arguments)
        _, answer = pipe.execute(raise_on_error=False)
        if isinstance(answer, NoScriptError):  # after a restart of the server; this loads the script again
            return self._run("step", arguments)
        if isinstance(answer, Exception):
            # redis-py itself drops a connection to a demoted master, but not where errors are among the replies.
            self.client.connection_pool.disconnect(inuse_connections=False)
            raise answer
        return answer


def _place(task: Dispatch) -> str:
    """Delay and partition of a task; empty for one that is ready at once, as most are."""
    if not task.delay and task.lock_key is None:
        return ""
    return f"{milliseconds(task.delay)}|{'' if task.lock_key is None else partition_name(task.lock_key)}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON can hold half of a surrogate pair


def _text(answer: bytes | str) -> str:
    return answer if isinstance(answer, str) else answer.decode("utf-8", "replace")


def _id(answer: bytes | str) -> UUID:
    return UUID(_text(answer))


def _flat(leases: Tokens) -> list[Argument]:
    return [part for task_id, token in leases.items() for part in (str(task_id), token)]


def _tokens(flat: Sequence[bytes]) -> dict[UUID, int]:
    return {UUID(i.decode()): int(token) for i, token in zip(flat[::2], flat[1::2], strict=True)}


def _claims(flat: Sequence[Any], parts: Sequence[Any], jobs: Sequence[Any]) -> tuple[Claim, ...]:
    columns = zip(flat[::2], flat[1::2], parts or [None] * len(jobs), jobs, strict=True)
    return tuple(
        Claim(task_id=UUID(i.decode()), token=int(token), payload=(job or b"")[1:], partitioned=bool(part))
        for i, token, part, job in columns
    )
