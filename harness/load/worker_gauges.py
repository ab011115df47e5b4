"""What the workers of a load use: the slots that have a task, and CPU and memory of those on this machine.

A worker publishes in its queue on which host it runs, with its process id and its start. Where that is a process of
this machine, the load finds it by that. The number of slots of a worker is not published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast

import psutil

from agentexec.core.identity import process_identity
from agentexec.queue.keys import QueueKeys
from harness.load.process_group import ProcessGroup
from harness.load.resources import Sample
from harness.load.server_gauges import RedisClient
from harness.targets.pools import Pools


class WorkersSampler(RedisClient):
    """The workers of some queues."""

    names: Sequence[str] = ("workers", "slots in use", "workers CPU", "workers memory")

    def __init__(self, url: str, queues: Sequence[str]) -> None:
        super().__init__(url)
        self._queues = [QueueKeys.of(queue) for queue in queues]
        self._local: dict[str, int | None] = {}
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        identities, used = self._published()
        self._local = {
            worker: self._local[worker] if worker in self._local else _local_pid(identity)
            for worker, identity in identities.items()
        }
        sample = Sample(levels={"workers": len(identities), "slots in use": used})
        pids = [pid for pid in self._local.values() if pid is not None]
        away = len(identities) - len(pids)
        if pids:
            sample.totals["workers CPU"], sample.levels["workers memory"] = self._group.look(pids)
        if away:
            note = (
                f"{away} of {len(identities)} workers are not processes of this machine, and are not counted"
            )
            sample.notes |= dict.fromkeys(("workers CPU", "workers memory"), note)
        return sample

    def _published(self) -> tuple[Mapping[str, str], int]:
        """The identities of the registered workers, and how many tasks they have leased."""
        identities: dict[str, str] = {}
        used = 0
        for keys in self._queues:
            answers = self.connection.calls([("HGETALL", keys.workers), ("HVALS", keys.holder)])
            registered, holders = (
                [value.decode("utf-8", "replace") for value in cast("list[bytes]", answer)]
                for answer in answers
            )
            found = dict(zip(registered[::2], registered[1::2], strict=True))
            identities |= found
            used += sum(holder.partition("|")[2] in found for holder in holders)
        return identities, used


class PoolsSampler:
    """The workers of pools that the harness has started itself, of any system."""

    names: Sequence[str] = ("workers", "workers CPU", "workers memory")

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        pids = [pid for pool in self._pools.running() for pid in pool.worker_pids()]
        cpu, memory = self._group.look(pids)
        return Sample(totals={"workers CPU": cpu}, levels={"workers": len(pids), "workers memory": memory})

    def close(self) -> None:
        pass


class QueueSampler(RedisClient):
    """The depth of a queue of agentexec."""

    names: Sequence[str] = ("queue depth", "in flight")

    def __init__(self, url: str, queue: str) -> None:
        super().__init__(url)
        keys = QueueKeys.of(queue)
        self._lists = [("LLEN", key) for key in keys.ready]
        self._sets = [("ZCARD", key) for key in (keys.lease, keys.alone, keys.sched, keys.parked)]

    def sample(self) -> Sample:
        leased, *waiting = cast("list[int]", self.connection.calls([*self._sets, *self._lists]))
        return Sample(levels={"queue depth": sum(waiting), "in flight": leased})


class GeneratorSampler:
    """CPU and memory of this process."""

    names: Sequence[str] = ("generator CPU", "generator memory")

    def __init__(self) -> None:
        self._group = ProcessGroup()

    def sample(self) -> Sample:
        cpu, memory = self._group.look([os.getpid()])
        return Sample(totals={"generator CPU": cpu}, levels={"generator memory": memory})

    def close(self) -> None:
        pass


def _local_pid(identity: str) -> int | None:
    """The process id of a worker that runs on this machine; None for any other."""
    pid = identity.split("|")[1:2]
    if not pid or not pid[0].isdecimal() or not psutil.pid_exists(int(pid[0])):
        return None
    return int(pid[0]) if process_identity(int(pid[0])) == identity else None
