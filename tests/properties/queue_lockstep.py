"""A state machine's calls to several queues at once, each checked against the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar
from uuid import UUID

import redis
from hypothesis import currently_in_test_context, note
from hypothesis.stateful import RuleBasedStateMachine

from agentexec.errors import WorkerGone
from agentexec.queue.protocol import (
    Disposition,
    Finish,
    Queue,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
)
from agentexec.queue.redis_queue import RedisQueue
from harness.simulation.queue.memory_queue import MemoryQueue
from tests.properties.clocked import CLOCK, ClockedFake, set_clock
from tests.properties.queue_model import GONE_FOR, QueueModel
from tests.support.queue_contents import QueueContents, contents_of, set_policy

LEASE = 30.0
SLOTS = ("w", "w1", "w12")  # names that are beginnings of others
FOR_EVER = 10**9  # the time to live of results is the server's own clock's, so none may end

T = TypeVar("T")
Grip = tuple[UUID, int, str]  # a task, the token and the worker of one claim


class QueueLockstep(RuleBasedStateMachine):
    """Every call goes to all queues, which must give one answer; the model checks it."""

    # What a printed example needs to run where it is pasted.
    imports: ClassVar[Sequence[str]] = (
        "from uuid import UUID",
        "from tests.properties.queue_machine import QueueMachine",
    )

    def __init__(self) -> None:
        super().__init__()
        if currently_in_test_context():
            note("\n".join(self.imports))
        self.microseconds = 1_700_000_000_000_000
        self.clients = self.servers()
        policy = QueuePolicy(lease_seconds=LEASE, max_crashes=1, result_ttl_seconds=FOR_EVER)
        self.memory = MemoryQueue(policy=policy, clock=lambda: self.microseconds / 1_000_000)
        self.queues: list[MemoryQueue | RedisQueue] = [
            self.memory,
            *(RedisQueue(client, "machine", policy) for client in self.clients),
        ]
        self.model = QueueModel()
        self.names = {slot: slot for slot in SLOTS}  # a worker's name is used once
        self.claims: list[Grip] = []  # every one there ever was
        self.steps: dict[str, tuple[str, Sequence[Finish], StepResult]] = {}  # worker -> its last
        self.results: list[UUID] = []
        self.nonces = 0
        self.lowest_token = 0
        self.fence_lost = True
        self.forget()
        self.set_clocks()

    def servers(self) -> list[redis.Redis]:
        """Clients of servers that this machine has for itself."""
        return [ClockedFake(version=(7, 0))]

    def teardown(self) -> None:
        for queue in self.queues:
            if isinstance(queue, RedisQueue):
                queue.drop(results=self.results)
        for client in self.clients:
            client.delete(CLOCK)
            client.close()

    @property
    def now(self) -> int:
        return self.microseconds // 1000

    def set_clocks(self) -> None:
        for client in self.clients:
            set_clock(client, self.microseconds)

    def forget(self) -> None:
        """What FLUSHALL does to a queue: all its keys are gone."""
        for queue in self.queues:
            queue.drop()
        self.steps.clear()
        self.fence_lost = True

    def change_server(self) -> None:
        """What a restart or a failover does that loses nothing."""
        for queue in self.queues:
            if isinstance(queue, MemoryQueue):
                queue.restore(queue.books)
            else:
                queue.client.hset(queue.keys.cfg, "server", "another")

    def set_policy(self, **changes: float) -> None:
        for queue in self.queues:
            set_policy(queue, **changes)

    def ask(self, question: Callable[[Queue], T]) -> T:
        first, *others = [question(queue) for queue in self.queues]
        for answer in others:
            assert answer == first, "the queues answer differently"
        return first

    def ask_again(self, question: Callable[[Queue], T]) -> T:
        """What a client does after a lost reply; I7: nothing changes."""
        before = self.contents()
        answer = self.ask(question)
        assert self.contents() == before, "I7: a question that was sent again changed something"
        return answer

    def contents(self) -> list[QueueContents]:
        return [contents_of(queue) for queue in self.queues]

    def held(self) -> list[Grip]:
        return [(i, t.token, t.worker) for i, t in self.model.tasks.items() if t.token is not None]

    def lost(self) -> list[Grip]:
        return [grip for grip in self.claims if not self.model.has_authority(grip[0], grip[1])]

    def pick(self, things: Sequence[T], pick: int) -> T:
        return things[-1 - pick % len(things)]

    def send_step(self, worker: str, finishes: Sequence[Finish], want: int, max_crashes: int) -> None:
        if self.fence_lost and self.microseconds <= self.model.highest:
            # The store answers so to a worker whose start it refused.
            self.lowest_token = self.model.highest + 1
        self.nonces += 1
        nonce = f"n{self.nonces}"
        done = {f.task_id: f'"of {f.token}"' for f in finishes if f.disposition is Disposition.ACK}
        finishes = [replace(f, result=done.get(f.task_id)) for f in finishes]
        self.set_policy(max_crashes=max_crashes)
        left = self.model.held_by(worker).keys() - {f.task_id for f in finishes}
        request = StepRequest(
            worker=worker,
            nonce=nonce,
            finishes=finishes,
            want=want,
            lowest_token=self.lowest_token,
            busy=bool(left) and self.nonces % 2 == 0,
        )
        answer = self._step(request)
        self.results += done
        kept = self.ask(lambda queue: [queue.result(task) for task in done])
        assert kept == list(done.values())
        if not isinstance(answer, StepResult):
            assert worker in self.model.gone, "a worker was refused without being declared dead"
            return
        self.steps[worker] = nonce, finishes, answer
        self.fence_lost = self.fence_lost and not answer.claims
        self.claims += [(claim.task_id, claim.token, worker) for claim in answer.claims]
        self.model.stepped(request, answer, now=self.now, lease=LEASE, max_crashes=max_crashes)

    def send_last_step_again(self, worker: str, want: int, max_crashes: int) -> None:
        nonce, finishes, first = self.steps[worker]
        before = self.contents()
        self.set_policy(max_crashes=max_crashes)
        request = StepRequest(
            worker=worker, nonce=nonce, finishes=finishes, want=want, lowest_token=self.lowest_token
        )
        again = self._step(request)
        assert self.contents() == before, "I7: a step that was sent again changed something"
        if not isinstance(again, StepResult):
            assert worker in self.model.gone
            return
        assert worker not in self.model.gone, "I4: a dead worker got the reply that it had missed"
        assert (again.stale, again.expired) == (first.stale, first.expired), "I7"
        left = [(c.task_id, c.token) for c in first.claims if self.model.has_authority(c.task_id, c.token)]
        assert [(c.task_id, c.token) for c in again.claims] == left, "I7: other claims than those still held"

    def send_renewal(self, worker: str, leases: Mapping[UUID, int], lease: float, reply_lost: bool) -> None:
        def question(queue: Queue) -> tuple[set[UUID], set[UUID]]:
            return queue.renew(worker, leases)

        self.set_policy(lease_seconds=lease)
        answer = self.ask(question)
        self.model.renewed(worker, leases, *answer, now=self.now, lease=lease)
        if reply_lost:
            assert self.ask_again(question) == answer, "I7"
        self.set_policy(lease_seconds=LEASE)

    def send_registration(self, worker: str, identity: str) -> None:
        before = set(self.model.seen)
        self.ask(lambda queue: queue.register(worker, identity))
        self.model.registered(worker, self.now)
        registered = self.ask(lambda queue: queue.registered())
        gone_at = self.model.gone.get(worker, self.now - GONE_FOR)
        assert worker not in registered or self.now - gone_at >= GONE_FOR, "I4: a dead worker is registered"
        for forgotten in before - set(self.model.seen):
            self.steps.pop(forgotten, None)
        self._forget_steps()

    def send_lock(self, claims: Mapping[UUID, tuple[int, str]], reply_lost: bool) -> None:
        parked, lost = self.ask(lambda queue: queue.lock(claims))
        self.model.locked(claims, parked, lost, now=self.now)
        if reply_lost:
            again = self.ask_again(lambda queue: queue.lock(claims))
            assert again == (set(), lost | parked), "I7: what was parked is void, and what was kept is kept"

    def send_hand_back(
        self, claims: Mapping[UUID, tuple[int, str, str]], limit: float, delay: float, reply_lost: bool
    ) -> None:
        def question(queue: Queue) -> tuple[set[UUID], set[UUID]]:
            return queue.hand_back(claims, limit=limit, delay=delay)

        unknown, lost = self.ask(question)
        limit_ms, delay_ms = round(limit * 1000), round(delay * 1000)
        self.model.handed_back(claims, unknown, lost, limit=limit_ms, delay=delay_ms, now=self.now)
        if reply_lost:
            assert self.ask_again(question) == (unknown, set(claims) - unknown), "I7"

    def send_release(
        self,
        worker: str | None,
        leases: Mapping[UUID, int] | None,
        charge: bool,
        max_crashes: int,
        *,
        gone: bool,
        reply_lost: bool,
        begun: bool = True,
    ) -> None:
        def question(queue: Queue) -> Revocations:
            return queue.release(worker, leases, charge=charge, begun=begun, declare_gone=gone)

        self.set_policy(max_crashes=max_crashes)
        revoked = self.ask(question)
        gone_at = self.now if gone else None
        self.model.released(
            worker,
            leases,
            revoked,
            charge=charge,
            begun=begun,
            max_crashes=max_crashes,
            gone_at=gone_at,
        )
        self._forget_steps()
        if reply_lost:
            assert self.ask_again(question) == ({}, {}), "I7: nothing is given back twice"

    def _forget_steps(self) -> None:
        """Those of workers that died so long ago that the queue has forgotten it."""
        served = {*self.names.values(), *self.model.gone}
        self.steps = {name: step for name, step in self.steps.items() if name in served}

    def _step(self, request: StepRequest) -> StepResult | str:
        def question(queue: Queue) -> StepResult | str:
            try:
                return queue.step(request)
            except WorkerGone as gone:
                return str(gone)

        return self.ask(question)
