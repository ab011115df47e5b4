"""The queue in memory and the Lua scripts answer alike, whatever is asked of them in whatever order.

Both see the same clock, which may also go back. Tokens are compared by their order, everything else by value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TypeVar
from uuid import UUID

import fakeredis
import hypothesis.strategies as st
import pytest
from fakeredis.commands_mixins import server_mixin
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentexec.errors import WorkerGone
from agentexec.memory_queue import MemoryQueue
from agentexec.queue import Dispatch, Finish, Queue, Revoked, StepResult, Verb
from agentexec.redis_queue import RedisQueue
from tests.properties.laws import Laws
from tests.queue_books import books_of
from tests.queue_invariants import require_consistent

IDS = [UUID(int=n) for n in range(1, 13)]  # few, so that commands meet
LEASE = 30.0

tasks = st.sampled_from(IDS)
workers = st.sampled_from(["w1", "w2", "w21"])
lock_keys = st.sampled_from(["a", "b"])
seconds = st.sampled_from([0.0, 0.0004, 0.01, 5.0, 40.0])
seldom = st.sampled_from([False, False, False, True])

T = TypeVar("T")


class Agreement(RuleBasedStateMachine):
    """Two queues, one life."""

    def __init__(self) -> None:
        super().__init__()
        self.microseconds = 1_700_000_000_000_000
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(server_mixin, "time", SimpleNamespace(time=self.clock))  # what TIME answers
        self.memory = MemoryQueue(clock=self.clock)
        self.client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
        self.redis = RedisQueue(self.client, "agreement")
        self.tokens: dict[int, int] = {}  # Redis's -> the memory's
        self.claims: list[tuple[UUID, int]] = []  # every one there was, with Redis's token
        self.steps: dict[str, tuple[str, Sequence[Finish]]] = {}  # worker -> nonce and finishes of its last
        self.nonces = 0
        self.laws = Laws()  # of Redis's answers; the memory's are the same

    def teardown(self) -> None:
        self.patch.undo()
        self.client.close()

    def clock(self) -> float:
        return self.microseconds / 1_000_000

    # What may happen.

    @initialize(remember=st.booleans())
    def begin(self, remember: bool) -> None:
        """A queue that remembers takes tasks with lock keys from everybody."""
        if remember:
            self.rebuild("first", end=True)

    @rule(by=st.sampled_from([-50.0, -0.001, 0.0005, 1.0, 29.999, 30.0, 100.0, 90_000.0]))
    def time_passes(self, by: float) -> None:
        self.microseconds += round(by * 1_000_000)

    @rule(
        ids=st.lists(tasks, max_size=6),
        level=st.sampled_from([0, 1, 1, 7]),
        delay=seconds,
        lock_key=st.none() | lock_keys,
        max_depth=st.sampled_from([0, 0, 3]),
        healing=st.booleans(),
    )
    def enqueue(
        self, ids: list[UUID], level: int, delay: float, lock_key: str | None, max_depth: int, healing: bool
    ) -> None:
        batch = [
            Dispatch(task_id=i, payload=i.bytes, level=level, delay=delay, lock_key=lock_key) for i in ids
        ]
        self.laws.enqueued(
            batch, self.both(lambda queue: queue.enqueue(batch, max_depth=max_depth, healing=healing))
        )

    @rule(
        worker=workers,
        want=st.sampled_from([0, 1, 1, 3, 20]),
        ends=st.lists(st.tuples(st.integers(1, 6), st.sampled_from(Verb), seconds), max_size=3),
        ahead=st.sampled_from([0, 0, 0, 7]),
        max_crashes=st.integers(0, 2),
    )
    def step(
        self, worker: str, want: int, ends: list[tuple[int, Verb, float]], ahead: int, max_crashes: int
    ) -> None:
        self.nonces += 1
        finishes = [
            Finish(task_id=task, token=token, verb=verb, delay=delay, reason="failed")
            for back, verb, delay in ends
            for task, token in self.claims[-back:][:1]
        ]
        self.steps[worker] = f"n{self.nonces}", finishes
        self.send_step(worker, want, max_crashes, max(self.tokens, default=0) + ahead if ahead else 0)

    # What queues do all day, by workers that nobody declares dead; else little of the above finds anything to act on.

    @rule(
        ids=st.lists(tasks, min_size=3, max_size=9),
        level=st.integers(0, 1),
        max_depth=st.sampled_from([0, 3]),
        claimed=st.integers(1, 9),
        verbs=st.lists(st.sampled_from(Verb), min_size=1, max_size=4),
    )
    def work(self, ids: list[UUID], level: int, max_depth: int, claimed: int, verbs: list[Verb]) -> None:
        self.enqueue(ids, level, 0.0, None, max_depth, False)
        for _ in range(3):
            self.step("steady", claimed, [(back, verb, 0.0) for back, verb in enumerate(verbs, 1)], 0, 2)

    @rule(claimed=st.integers(1, 4), verb=st.sampled_from(Verb), renewed=st.booleans())
    def stand_still_past_the_lease(self, claimed: int, verb: Verb, renewed: bool) -> None:
        self.step("frozen", claimed, [], 0, 2)
        self.time_passes(LEASE)
        if renewed:
            self.renew("frozen", claimed, LEASE)
        self.step("steady", claimed, [], 0, 2)
        self.step("frozen", 0, [(back, verb, 5.0) for back in range(1, 2 * claimed + 1)], 0, 2)

    @rule(
        ids=st.lists(tasks, min_size=2, max_size=4, unique=True),
        lock_key=lock_keys,
        verb=st.sampled_from(Verb),
    )
    def come_back_late_to_a_lock(self, ids: list[UUID], lock_key: str, verb: Verb) -> None:
        """One holds a lock key and stands still; another takes over, and only then the first speaks."""
        self.enqueue(ids, 1, 0.0, lock_key, 0, True)
        self.step("frozen", 20, [], 0, 2)
        self.time_passes(LEASE)
        self.step("steady", 20, [], 0, 2)
        self.step("frozen", 20, [(back, verb, 0.0) for back in range(1, 9)], 0, 2)

    @rule(ids=st.lists(tasks, min_size=1, max_size=3), times=st.integers(1, 3))
    def shut_down_one_after_another(self, ids: list[UUID], times: int) -> None:
        self.enqueue(ids, 1, 0.0, None, 0, False)
        for _ in range(times):
            self.step("steady", 3, [], 0, 0)
            self.release("steady", None, False, 0, False)

    @rule(first=workers, then=workers, seconds_later=st.sampled_from([1.0, 86_400.0, 90_000.0]))
    def outlive_two_workers(self, first: str, then: str, seconds_later: float) -> None:
        self.step(first, 3, [], 0, 2)
        self.release(first, None, False, 2, True)
        self.time_passes(seconds_later)
        self.release(then, None, False, 2, True)
        self.renew(first, 3, LEASE)

    @rule(worker=workers, want=st.integers(0, 3))
    def step_again(self, worker: str, want: int) -> None:
        if worker in self.steps:
            self.send_step(worker, want, max_crashes=1, lowest_token=0)

    @rule(worker=workers, back=st.integers(1, 6), lease=st.sampled_from([0.0, 1.0, LEASE]))
    def renew(self, worker: str, back: int, lease: float) -> None:
        gone = worker in books_of(self.redis).gone
        lost, _ = self.both(lambda queue: queue.renew(worker, self.last_claims(queue, back), lease=lease))
        self.laws.renewed(self.last_claims(self.redis, back), lost, gone=gone)

    @rule(
        worker=workers,
        named=st.none() | st.integers(0, 6),
        charge=st.booleans(),
        max_crashes=st.integers(0, 2),
        declare_gone=seldom,
    )
    def release(
        self, worker: str, named: int | None, charge: bool, max_crashes: int, declare_gone: bool
    ) -> None:
        def call(queue: Queue) -> tuple[list[Revoked], list[Revoked]]:
            leases = None if named is None else self.last_claims(queue, named)
            answer = queue.release(
                worker, leases, charge=charge, max_crashes=max_crashes, declare_gone=declare_gone
            )
            if queue is self.redis:
                self.laws.released(
                    worker, leases, answer, charge=charge, max_crashes=max_crashes, declare_gone=declare_gone
                )
            return self.comparable(queue, answer[0]), self.comparable(queue, answer[1])

        self.both(call)

    @rule(back=st.integers(1, 6), lock_key=lock_keys)
    def lock(self, back: int, lock_key: str) -> None:
        def claims(queue: Queue) -> dict[UUID, tuple[int, str]]:
            return {i: (token, lock_key) for i, token in self.last_claims(queue, back).items()}

        parked, _ = self.both(lambda queue: queue.lock(claims(queue)))
        self.laws.locked(claims(self.redis), parked)

    @rule(back=st.integers(0, 3), other=tasks)
    def cancel(self, back: int, other: UUID) -> None:
        ids = [task for task, _ in self.claims[-back:] if back]
        self.both(lambda queue: queue.request_cancel([*ids, other]))

    @rule(worker=workers)
    def register(self, worker: str) -> None:
        self.both(lambda queue: queue.register(worker, f"host|{worker}"))

    @rule(count=st.integers(1, 3))
    def wake(self, count: int) -> None:
        self.both(lambda queue: queue.wake(count))

    @rule()
    def listen(self) -> None:
        if self.memory.books.wake:  # with nothing to hear both would wait, in real time
            self.both(lambda queue: queue.wait(1))

    @rule(name=st.sampled_from(["first", "second"]), end=st.booleans())
    def rebuild(self, name: str, end: bool) -> None:
        self.both(lambda queue: queue.begin_rebuild(name))
        if end:
            self.both(lambda queue: queue.end_rebuild(name))

    @rule(really=seldom)
    def lose_memory(self, really: bool) -> None:
        if really:
            self.both(lambda queue: queue.drop())
            self.laws.forgotten()
            self.microseconds += 60_000_000  # however far the clock went back, tokens go on rising

    # What must hold.

    @invariant()
    def they_know_the_same(self) -> None:
        require_consistent(self.redis)
        books = books_of(self.redis)
        own = {i: (self.tokens[token], worker) for i, (token, worker) in books.own.items()}
        assert replace(books, own=own) == books_of(self.memory)

    @invariant()
    def they_say_the_same(self) -> None:
        self.both(
            lambda queue: (queue.known(IDS), queue.dead_reasons(IDS), queue.depth(), queue.registered())
        )

    def both(self, call: Callable[[Queue], T]) -> T:
        theirs = call(self.redis)
        assert theirs == call(self.memory)
        return theirs

    def send_step(self, worker: str, want: int, max_crashes: int, lowest_token: int) -> None:
        nonce, finishes = self.steps[worker]

        def call(queue: Queue) -> StepResult | str:
            try:
                return queue.step(
                    worker,
                    nonce,
                    finishes=[replace(f, token=self.token(queue, f.token)) for f in finishes],
                    want=want,
                    lease=LEASE,
                    max_crashes=max_crashes,
                    lowest_token=lowest_token,
                )
            except WorkerGone as gone:
                return str(gone)

        theirs, ours = call(self.redis), call(self.memory)
        if isinstance(theirs, StepResult) and isinstance(ours, StepResult):
            self.laws.stepped(worker, nonce, finishes, max_crashes, theirs)
            self.claims += [(c.task_id, c.token) for c in theirs.claims]
            for their, our in zip(theirs.claims, ours.claims, strict=True):
                self.learn(their.token, our.token)
            theirs = replace(
                theirs,
                claims=tuple(replace(c, token=self.tokens[c.token]) for c in theirs.claims),
                stale=tuple(replace(f, token=self.tokens[f.token]) for f in theirs.stale),
                reaped=tuple(self.comparable(self.redis, theirs.reaped)),
                dead=tuple(self.comparable(self.redis, theirs.dead)),
            )
        assert theirs == ours

    def learn(self, theirs: int, ours: int) -> None:
        assert self.tokens.setdefault(theirs, ours) == ours, "a replay gives the tokens of the first reply"
        in_order = [token for _, token in sorted(self.tokens.items())]
        assert in_order == sorted(set(in_order)), "tokens differ in their order"

    def token(self, queue: Queue, token: int) -> int:
        return token if queue is self.redis else self.tokens[token]

    def last_claims(self, queue: Queue, count: int) -> Mapping[UUID, int]:
        return {task: self.token(queue, token) for task, token in self.claims[-count:] if count}

    def comparable(self, queue: Queue, revoked: Sequence[Revoked]) -> list[Revoked]:
        return [replace(r, token=self.tokens[r.token]) if queue is self.redis else r for r in revoked]


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=40)
