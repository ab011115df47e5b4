"""A state machine that runs the memory queue and the Redis queues in step, beside a model of the protocol.

The rules are what producers, workers, operators and faults do to a queue. After each rule all queues have given the
same answer and have equal contents, including every score. The model accepts the answer, so a defect that all
implementations share is found too. All queues read one clock, which can go back (`clocked.py`).
"""

from __future__ import annotations

from uuid import UUID

import hypothesis.strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from agentexec.queue.protocol import Dispatch, Disposition, Finish
from tests.properties.queue_lockstep import LEASE, SLOTS, QueueLockstep
from tests.support.queue_contents import add_wake_tokens
from tests.support.queue_invariants import require_consistent_books

IDS = [UUID(int=n) for n in range(1, 13)]  # few, so that commands meet

tasks = st.sampled_from(IDS)
slots = st.sampled_from(SLOTS)
picks = st.integers(0, 40)
fingerprints = st.sampled_from(["", "v1", "v2"])
lock_keys = st.sampled_from(["a", "b"])
seconds = st.sampled_from([0.0, 0.0004, 0.01, 5.0, 40.0])
# Text, so that a printed example is Python.
dispositions = st.sampled_from([one.value for one in Disposition])


class QueueMachine(QueueLockstep):
    """Memory and fakeredis; subclasses add servers."""

    @initialize(remember=st.sampled_from([True, True, True, False]))
    def begin(self, remember: bool) -> None:
        """A queue with a complete memory admits tasks with lock keys."""
        if remember:
            self.rebuild("first", end=True)

    # Producers and operators.

    @rule(
        ids=st.lists(tasks, max_size=6),
        level=st.sampled_from([0, 1, 1, 7]),
        delay=seconds,
        lock_key=st.none() | lock_keys,
        max_depth=st.sampled_from([0, 0, 3]),
        from_reconciler=st.booleans(),
        reply_lost=st.booleans(),
    )
    def enqueue(
        self,
        ids: list[UUID],
        level: int,
        delay: float,
        lock_key: str | None,
        max_depth: int,
        from_reconciler: bool,
        reply_lost: bool = False,
    ) -> None:
        batch = [
            Dispatch(task_id=i, payload=i.bytes, level=level, delay=delay, lock_key=lock_key) for i in ids
        ]
        self.set_policy(max_depth=max_depth)
        answers = self.ask(lambda queue: queue.enqueue(batch, from_reconciler=from_reconciler))
        self.model.enqueued(batch, answers, self.now, max_depth, from_reconciler)
        if reply_lost:
            again = self.ask_again(lambda queue: queue.enqueue(batch, from_reconciler=from_reconciler))
            assert again == answers, "I7"

    @rule(ids=st.lists(tasks, min_size=1, max_size=3))
    def cancel(self, ids: list[UUID]) -> None:
        self.model.canceled(ids, self.ask(lambda queue: queue.request_cancel(ids)))

    @precondition(lambda self: self.held())
    @rule(pick=picks)
    def cancel_what_runs(self, pick: int) -> None:
        self.cancel([self.pick(self.held(), pick)[0]])

    @rule(count=st.integers(1, 3))
    def wake(self, count: int) -> None:
        for queue in self.queues:
            add_wake_tokens(queue, count)

    @precondition(lambda self: self.memory.books.wake)  # without a wake token all would wait, in real time
    @rule()
    def wait(self) -> None:
        assert self.ask(lambda queue: queue.wait(1))

    # What queues do all day, and what takes several steps: else little of the rest has anything to act on.

    def supply(self, slot: str, count: int, lock_key: str | None = None) -> dict[UUID, int]:
        """Have new tasks, and a worker that has claimed as many as there are; returns what it holds."""
        new = [task for task in IDS if task not in self.model.tasks][:count]
        self.enqueue(new, 1, 0.0, lock_key, 0, from_reconciler=True)
        self.step(slot, count, [])
        return self.model.held_by(self.names[slot])

    @rule(
        slot=slots,
        count=st.integers(1, 6),
        lock_key=st.none() | lock_keys,
        ends=st.lists(st.tuples(dispositions, seconds), min_size=1, max_size=4),
        canceled=st.booleans(),
        max_crashes=st.integers(0, 2),
        reply_lost=st.booleans(),
    )
    def work(
        self,
        slot: str,
        count: int,
        lock_key: str | None,
        ends: list[tuple[str, float]],
        canceled: bool,
        max_crashes: int,
        reply_lost: bool,
    ) -> None:
        held = self.supply(slot, count, lock_key)
        if canceled:
            self.cancel(list(held))
        self.step(slot, count, ends, max_crashes=max_crashes, reply_lost=reply_lost)

    @rule(slot=slots, count=st.integers(1, 4), lock_key=lock_keys, reply_lost=st.booleans())
    def find_the_lock_keys(self, slot: str, count: int, lock_key: str, reply_lost: bool) -> None:
        """A worker learns from the payloads which keys its producers did not know of."""
        held = self.supply(slot, count)
        self.send_lock({task: (token, lock_key) for task, token in held.items()}, reply_lost)

    # Workers.

    @rule(
        slot=slots,
        want=st.sampled_from([0, 1, 1, 3, 20]),
        ends=st.lists(st.tuples(dispositions, seconds), max_size=4),
        ahead=st.sampled_from([0, 0, 0, 7]),
        max_crashes=st.integers(0, 2),
        reply_lost=st.booleans(),
    )
    def step(
        self,
        slot: str,
        want: int,
        ends: list[tuple[str, float]],
        ahead: int = 0,
        max_crashes: int = 1,
        reply_lost: bool = False,
    ) -> None:
        """Claim, and end so many of the tasks that the worker holds."""
        worker = self.names[slot]
        held = list(self.model.held_by(worker).items())
        finishes = [
            Finish(
                task_id=task, token=token, disposition=Disposition(disposition), delay=delay, reason="failed"
            )
            for (task, token), (disposition, delay) in zip(held, ends, strict=False)
        ]
        if ahead:
            self.lowest_token = max(self.lowest_token, self.model.highest + ahead)
        self.send_step(worker, finishes, want, max_crashes)
        if reply_lost and worker in self.steps:
            self.send_last_step_again(worker, want, max_crashes)

    @precondition(lambda self: self.steps)
    @rule(pick=picks, want=st.integers(0, 3))
    def resend_a_step_late(self, pick: int, want: int) -> None:
        """The reply was lost, and much has happened until the worker asks again."""
        self.send_last_step_again(self.pick(sorted(self.steps), pick), want, max_crashes=1)

    @rule(slot=slots, lease=st.sampled_from([0.0, 1.0, LEASE]), reply_lost=st.booleans())
    def renew(self, slot: str, lease: float, reply_lost: bool = False) -> None:
        worker = self.names[slot]
        leases = self.model.held_by(worker)
        self.send_renewal(worker, leases, lease, reply_lost)

    @rule(
        slot=slots,
        named=st.none() | st.integers(0, 3),
        charge=st.booleans(),
        max_crashes=st.integers(0, 2),
        reply_lost=st.booleans(),
    )
    def release(
        self, slot: str, named: int | None, charge: bool, max_crashes: int = 1, reply_lost: bool = False
    ) -> None:
        """A graceful shutdown (uncharged), or a pool that gives back what a process held."""
        worker = self.names[slot]
        leases = None if named is None else dict(list(self.model.held_by(worker).items())[:named])
        self.send_release(worker, leases, charge, max_crashes, gone=False, reply_lost=reply_lost)

    @precondition(lambda self: self.held())
    @rule(picked=st.lists(picks, min_size=1, max_size=3), late=st.integers(0, 1), reply_lost=st.booleans())
    def take_back(self, picked: list[int], late: int, reply_lost: bool) -> None:
        """A reconciler revokes leases by their tokens, of any worker; a token may be of an earlier lease."""
        grips = [self.pick(self.held(), pick) for pick in picked]
        leases = {task: token - late for task, token, _ in grips}
        self.send_release(None, leases, False, 0, gone=False, reply_lost=reply_lost)

    @precondition(lambda self: self.held())
    @rule(picked=st.lists(picks, min_size=1, max_size=3), lock_key=lock_keys, reply_lost=st.booleans())
    def lock(self, picked: list[int], lock_key: str, reply_lost: bool) -> None:
        grips = [self.pick(self.held(), pick) for pick in picked]
        self.send_lock({task: (token, lock_key) for task, token, _ in grips}, reply_lost)

    @rule(names=st.dictionaries(st.sampled_from(["a", "b"]), fingerprints.filter(bool)))
    def announce(self, names: dict[str, str]) -> None:
        """A pool is alive and knows these tasks."""
        self.ask(lambda queue: queue.announce(names))
        if names:
            self.model.announced(names, self.now)
        self.ask(lambda queue: queue.announced())

    @precondition(lambda self: self.held())
    @rule(
        picked=st.lists(picks, min_size=1, max_size=3),
        name=st.sampled_from(["a", "b"]),
        fingerprint=fingerprints,
        limit=st.sampled_from([0.0, 30.0, 600.0]),
        delay=seconds,
        reply_lost=st.booleans(),
    )
    def hand_back(
        self, picked: list[int], name: str, fingerprint: str, limit: float, delay: float, reply_lost: bool
    ) -> None:
        """A worker cannot run what it claimed; others may."""
        grips = [self.pick(self.held(), pick) for pick in picked]
        claims = {task: (token, name, fingerprint) for task, token, _ in grips}
        self.send_hand_back(claims, limit, delay, reply_lost)

    @rule(slot=slots)
    def register(self, slot: str) -> None:
        self.send_registration(self.names[slot], f"host|{slot}")

    # Faults.

    @rule(by=st.sampled_from([-50.0, -0.001, 0.0005, 1.0, 29.999, 30.0, 100.0, 90_000.0]))
    def let_pass(self, by: float) -> None:
        """Let time pass, or set the clock back."""
        self.microseconds += round(by * 1_000_000)
        self.set_clocks()

    @rule(
        slot=slots,
        held=st.integers(0, 3),
        charge=st.booleans(),
        begun=st.booleans(),
        max_crashes=st.integers(0, 2),
        reply_lost=st.booleans(),
    )
    def crash(
        self,
        slot: str,
        held: int,
        charge: bool,
        max_crashes: int = 1,
        reply_lost: bool = False,
        begun: bool = True,
    ) -> None:
        """A worker dies, its pool gives back what it held, and another takes its place under a new name."""
        if held:
            self.supply(slot, held)
        worker = self.names[slot]
        self.names[slot] += "+"
        self.send_release(worker, None, charge, max_crashes, gone=True, reply_lost=reply_lost, begun=begun)
        self.send_registration(worker, "its last heartbeat is late")

    @precondition(lambda self: self.model.gone)
    @rule(pick=picks)
    def last_breath(self, pick: int) -> None:
        """What a worker had sent before it died arrives after it was declared dead."""
        worker = self.pick(sorted(self.model.gone), pick)
        late = [(task, token) for task, token, by in self.claims if by == worker][-3:]
        self.send_step(
            worker,
            [Finish(task_id=task, token=token, disposition=Disposition.ACK) for task, token in late],
            3,
            1,
        )
        self.send_renewal(worker, dict(late), LEASE, reply_lost=False)
        self.send_registration(worker, "host")

    @rule(slot=slots, times=st.integers(1, 3))
    def shut_down_one_after_another(self, slot: str, times: int) -> None:
        """Each deployment finds tasks running and gives them back: no number of them makes a dead letter."""
        for _ in range(times):
            self.supply(slot, 2)
            self.release(slot, None, charge=False, max_crashes=0)

    @rule(
        slot=slots,
        heir=slots,
        claimed=st.integers(1, 4),
        lock_key=st.none() | lock_keys,
        renewed=st.booleans(),
        disposition=dispositions,
    )
    def freeze(
        self, slot: str, heir: str, claimed: int, lock_key: str | None, renewed: bool, disposition: str
    ) -> None:
        """A worker stands still past its leases; others take its tasks; it goes on as if nothing had been."""
        leases = self.supply(slot, claimed, lock_key)
        worker = self.names[slot]
        self.let_pass(LEASE)
        if renewed:
            self.send_renewal(worker, leases, LEASE, reply_lost=False)
        self.step(heir, claimed, [])
        self.send_renewal(worker, leases, LEASE, reply_lost=False)
        lost = {i: (t, "a", "") for i, t in leases.items() if not self.model.has_authority(i, t)}
        self.send_hand_back(lost, 600.0, 1.0, reply_lost=False)
        late = [
            Finish(task_id=i, token=t, disposition=Disposition(disposition), delay=5.0, reason="late")
            for i, t in leases.items()
        ]
        self.send_step(worker, late, 0, 1)

    @precondition(lambda self: self.lost())
    @rule(pick=picks, disposition=dispositions, lock_key=lock_keys, charge=st.booleans())
    def late_calls(self, pick: int, disposition: str, lock_key: str, charge: bool) -> None:
        """Every call with a token that is lost; none may have an effect."""
        task, token, worker = self.pick(self.lost(), pick)
        before = self.contents()
        self.send_renewal(worker, {task: token}, LEASE, reply_lost=False)
        self.send_lock({task: (token, lock_key)}, reply_lost=False)
        self.send_release(worker, {task: token}, charge, 0, gone=False, reply_lost=False)
        assert self.contents() == before, "I4: a lost token changed something"
        self.send_step(
            worker,
            [Finish(task_id=task, token=token, disposition=Disposition(disposition), reason="late")],
            0,
            1,
        )

    @precondition(lambda self: self.model.tasks)
    @rule(rebuilt=st.booleans(), back=st.sampled_from([0.0, 0.0, 3600.0]))
    def lose_memory(self, rebuilt: bool, back: float) -> None:
        """FLUSHALL, or a restart without persistence, on a server whose clock may have gone back meanwhile."""
        pending = sorted(
            ((i, t) for i, t in self.model.tasks.items() if not t.dead), key=lambda p: (not p[1].held, p[0])
        )
        self.forget()
        self.model.lost_its_memory()
        self.let_pass(-back or 0.000001)
        if rebuilt:
            self.rebuild("again", end=False)
            for task_id, task in pending:  # the record knows the lock key also where the worker found it
                self.enqueue([task_id], task.level, 0.0, task.lock_key, 0, from_reconciler=True)
            self.rebuild("again", end=True)

    @rule()
    def change_server(self) -> None:
        super().change_server()
        self.model.server_changed = True

    @rule(name=st.sampled_from(["first", "second"]), end=st.booleans())
    def rebuild(self, name: str, end: bool) -> None:
        self.model.rebuild_began(name, self.ask(lambda queue: queue.begin_rebuild(name)))
        if end:
            self.model.rebuild_ended(name, self.ask(lambda queue: queue.end_rebuild(name)))

    # What holds at any time.

    @invariant()
    def they_are_alike_and_as_promised(self) -> None:
        first, *others = self.contents()
        require_consistent_books(first)
        for other in others:
            assert other == first, "the queues hold different things"
        depth = self.ask(lambda queue: queue.depth())
        states = (depth.ready, depth.leased, depth.scheduled, depth.parked, depth.dead)
        assert sum(states) == depth.known, "I2: the depth of the states is not that of the queue"
        self.model.require_one_holder_for_each_key()
        promised = self.model.tasks.items()
        assert first.crashes == {str(i): task.crashes for i, task in promised if task.crashes}, "I10"
        assert first.suspects == {
            str(i): (task.deaths, task.shared) for i, task in promised if task.deaths
        }, "I10"
        assert first.unknown == {
            str(i): task.handed_back for i, task in promised if task.handed_back is not None
        }
        assert first.names == self.model.names
        assert first.jobs == {str(i): (task.level, task.payload) for i, task in promised}, "I2"
        assert first.cancels == {str(i) for i, task in promised if task.canceled}
        depth = self.ask(lambda queue: queue.depth())
        dead = {i for i, task in self.model.tasks.items() if task.dead}
        known = self.ask(lambda queue: queue.known(IDS))
        assert {i for i, there in zip(IDS, known, strict=True) if there} == set(self.model.tasks)
        assert set(self.ask(lambda queue: queue.dead_reasons(IDS))) == dead
        assert (depth.leased, depth.dead, depth.known) == (
            len(self.held()),
            len(dead),
            len(self.model.tasks),
        )
        assert set(self.ask(lambda queue: queue.registered())) <= set(self.model.seen)
        assert set(first.nonces) <= set(first.seen) == set(self.model.seen)
