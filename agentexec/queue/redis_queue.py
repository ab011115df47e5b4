"""The queue protocol over Redis 7+, Valkey or anything that runs the same Lua."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from uuid import UUID

import redis
from redis.exceptions import NoScriptError

from agentexec.errors import WorkerGone
from agentexec.queue.keys import QueueKeys, partition_name, result_key
from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Finish,
    QueueDepth,
    Revoked,
    StepResult,
    Verb,
    milliseconds,
)

DELAYED = (Verb.RETRY, Verb.YIELD)
SCRIPTS = ("enqueue", "step", "renew", "release", "cancel", "partition", "rebuild", "agree")


@cache
def script_source(name: str, *, flags: bool) -> str:
    """The Lua text of a script with the shared part in front of it.

    With `flags`, all but `enqueue` may also run on a server that has reached its maxmemory: what finishes, renews
    and gives back is what empties it again. Without, the server refuses them, and every lease is lost.
    """
    folder = files("agentexec.queue") / "lua"
    head = "#!lua flags=allow-oom\n" if flags and name != "enqueue" else ""
    return head + (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")


class RedisQueue:
    """One queue. Instances are cheap and safe to share between threads, since the client pools its
    connections.

    Reads and writes raise `redis.exceptions.RedisError` when the server is not reachable within the
    client's own retries; calling again with the same arguments is always safe.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self.client = client
        self.name = name
        self.keys = QueueKeys.of(name)
        self._all_keys = self.keys.all()
        # A fake brings a connection class of its own, and the one we know cannot read the line with the flags.
        flags = client.connection_pool.connection_class.__module__.startswith("redis.")
        self._scripts: dict[str, Any] = {
            script: client.register_script(script_source(script, flags=flags)) for script in SCRIPTS
        }

    def enqueue(
        self, tasks: Sequence[Dispatch], *, max_depth: int = 0, healing: bool = False
    ) -> list[Admission]:
        """See `Queue.enqueue`."""
        if not tasks:
            return []
        arguments: list[str | bytes | int] = [max_depth, int(healing)]
        for task in tasks:
            arguments += [str(task.task_id), _place(task), b"%d%b" % (task.level, task.payload)]
        return [Admission(answer) for answer in self._run("enqueue", arguments)]

    def step(
        self,
        worker: str,
        nonce: str,
        *,
        finishes: Sequence[Finish],
        want: int,
        lease: float,
        max_crashes: int,
        lowest_token: int = 0,
        results: Mapping[UUID, str] = MappingProxyType({}),
        result_ttl: int = 3600,
    ) -> StepResult:
        """See `Queue.step`."""
        arguments: list[str | bytes | int] = [
            worker,
            nonce,
            milliseconds(lease),
            want,
            lowest_token,
            max_crashes,
        ]
        for finish in finishes:
            detail = str(milliseconds(finish.delay)) if finish.verb in DELAYED else finish.reason
            arguments += [str(finish.task_id), finish.token, finish.verb.value, detail]
        reply = self._run(
            "step", arguments, before={result_key(i): text for i, text in results.items()}, ttl=result_ttl
        )
        if reply[0] == b"GONE":
            raise WorkerGone(f"worker {worker} was declared dead; its leases belong to others")
        _, due, ready_left, claims, accepted, reaped, dead = reply
        return StepResult(
            claims=_claims(claims),
            stale=tuple(finish for finish, answer in zip(finishes, accepted, strict=True) if answer == 0),
            reaped=tuple(_revoked(reaped)),
            dead=tuple(_revoked(dead)),
            ready_left=ready_left,
            next_due=None if due < 0 else due / 1000,
        )

    def result(self, task_id: UUID) -> str | None:
        """See `Queue.result`."""
        kept = self.client.get(result_key(task_id))
        return None if kept is None else _text(kept)

    def lock(self, claims: Mapping[UUID, tuple[int, str]]) -> tuple[set[UUID], set[UUID]]:
        """See `Queue.lock`."""
        arguments: list[str | bytes | int] = []
        for task_id, (token, lock_key) in claims.items():
            arguments += [str(task_id), token, _partition(lock_key)]
        answers = dict(zip(claims, self._run("partition", arguments) if claims else [], strict=True))
        return {i for i, answer in answers.items() if answer == 0}, {
            i for i, answer in answers.items() if answer == -1
        }

    def renew(self, worker: str, leases: Mapping[UUID, int], *, lease: float) -> tuple[set[UUID], set[UUID]]:
        """See `Queue.renew`."""
        arguments: list[str | bytes | int] = [worker, milliseconds(lease)]
        for task_id, token in leases.items():
            arguments += [str(task_id), token]
        lost, canceled = self._run("renew", arguments)
        return {UUID(i.decode()) for i in lost}, {UUID(i.decode()) for i in canceled}

    def release(
        self,
        worker: str,
        leases: Mapping[UUID, int] | None,
        *,
        charge: bool,
        max_crashes: int,
        declare_gone: bool,
    ) -> tuple[list[Revoked], list[Revoked]]:
        """See `Queue.release`."""
        if leases is not None and not leases and not declare_gone:
            return [], []
        arguments: list[str | bytes | int] = [worker, int(charge), max_crashes, int(declare_gone)]
        for task_id, token in (leases or {}).items():
            arguments += [str(task_id), token]
        released, dead = self._run("release", arguments)
        return _revoked(released), _revoked(dead)

    def request_cancel(self, task_ids: Sequence[UUID]) -> list[bool]:
        """See `Queue.request_cancel`."""
        return (
            [answer == 1 for answer in self._run("cancel", [str(task_id) for task_id in task_ids])]
            if task_ids
            else []
        )

    def wait(self, timeout: float) -> bool:
        """See `Queue.wait`. The client's socket time-out must be longer than `timeout`."""
        if timeout <= 0:  # BLPOP reads 0 as for ever
            return False
        return self.client.blpop([self.keys.wake], timeout=timeout) is not None

    def depth(self) -> QueueDepth:
        """Count the tasks of each state in one transaction; the cost does not grow with their number."""
        pipe = self.client.pipeline(transaction=True)
        for ready in self.keys.ready:
            pipe.llen(ready)
        for states in (self.keys.lease, self.keys.sched, self.keys.parked, self.keys.dlq):
            pipe.zcard(states)
        pipe.hlen(self.keys.job)
        *lists, leased, scheduled, parked, dead, known = pipe.execute()
        return QueueDepth(
            ready=sum(lists), leased=leased, scheduled=scheduled, parked=parked, dead=dead, known=known
        )

    def known(self, task_ids: Sequence[UUID]) -> list[bool]:
        """See `Queue.known`."""
        pipe = self.client.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hexists(self.keys.job, str(task_id))
        return [bool(answer) for answer in pipe.execute()]

    def dead_reasons(self, task_ids: Sequence[UUID]) -> dict[UUID, str]:
        """See `Queue.dead_reasons`."""
        if not task_ids:
            return {}
        answers = self.client.hmget(self.keys.reason, [str(task_id) for task_id in task_ids])
        return {i: _text(answer) for i, answer in zip(task_ids, answers, strict=True) if answer is not None}

    def begin_rebuild(self, proposal: str) -> str | None:
        """See `Queue.begin_rebuild`."""
        name = self._run("rebuild", ["begin", proposal])
        return None if name is None else _text(name)

    def end_rebuild(self, name: str) -> bool:
        """See `Queue.end_rebuild`."""
        return bool(self._run("rebuild", ["end", name]))

    def agree(self, values: Mapping[str, str]) -> dict[str, str]:
        """See `Queue.agree`."""
        differed = self._run("agree", [part for item in values.items() for part in item])
        return {_text(differed[i]): _text(differed[i + 1]) for i in range(0, len(differed), 2)}

    def register(self, worker: str, identity: str) -> None:
        """See `Queue.register`."""
        self.client.hset(self.keys.workers, worker, identity)

    def registered(self) -> dict[str, str]:
        """See `Queue.registered`."""
        found = self.client.hgetall(self.keys.workers)
        return {_text(worker): _text(identity) for worker, identity in found.items()}

    def wake(self, count: int = 1) -> None:
        """See `Queue.wake`."""
        self.client.rpush(self.keys.wake, *(["1"] * count))

    def drop(self) -> None:
        """Delete every key of this queue. For tests and tear-down only."""
        self.client.delete(*self._all_keys)

    def _run(
        self,
        script: str,
        arguments: Sequence[str | bytes | int],
        *,
        before: Mapping[str, str] = MappingProxyType({}),
        ttl: int = 0,
    ) -> Any:
        """Run a script, and set the keys of `before` ahead of it in the same round trip."""
        if not before:
            return self._scripts[script](keys=self._all_keys, args=arguments)
        # The client's own Script would ask the server for its scripts before every pipeline.
        pipe = self.client.pipeline(transaction=False)
        for key, value in before.items():
            pipe.set(key, value, ex=ttl)
        pipe.evalsha(self._scripts[script].sha, len(self._all_keys), *self._all_keys, *arguments)
        *_, answer = pipe.execute(raise_on_error=False)
        if isinstance(answer, NoScriptError):  # the server restarted and forgot it; this loads it again
            return self._scripts[script](keys=self._all_keys, args=arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _place(task: Dispatch) -> str:
    """Where a task belongs: nothing for one that is ready at once, which nearly all are."""
    if not task.delay and task.lock_key is None:
        return ""
    return f"{milliseconds(task.delay)}|{_partition(task.lock_key)}"


def _partition(lock_key: str | None) -> str:
    return "" if lock_key is None else partition_name(lock_key)


def _text(answer: bytes | str) -> str:
    return answer if isinstance(answer, str) else answer.decode("utf-8", "replace")


def _claims(flat: Sequence[Any]) -> tuple[Claim, ...]:
    return tuple(
        Claim(
            task_id=UUID(flat[i].decode()),
            token=int(flat[i + 1]),
            crashes=int(flat[i + 2]),
            level=int(flat[i + 4][:1]) if flat[i + 4][:1].isdigit() else 0,
            payload=flat[i + 4][1:],
            partitioned=bool(flat[i + 3]),
        )
        for i in range(0, len(flat), 5)
    )


def _revoked(flat: Sequence[bytes]) -> list[Revoked]:
    return [Revoked(task_id=UUID(flat[i].decode()), token=int(flat[i + 1])) for i in range(0, len(flat), 2)]
