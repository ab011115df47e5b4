"""A model of the queue, written from docs/reference/queue-protocol.md and from no implementation.

The model predicts what that page decides: who has authority, what a crash costs, which tasks exist. It leaves open what
the page leaves open: which of two ready tasks is claimed first. Times are milliseconds of the queue's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from agentexec.queue.protocol import (
    Admission,
    Claim,
    Dispatch,
    Disposition,
    Finish,
    Revocations,
    StepRequest,
    StepResult,
)

ALONE_AFTER = 2  # deaths of workers in which a task had a part until it runs alone
GONE_FOR = 24 * 3600 * 1000  # how long a worker that was declared dead is refused
SILENT_FOR = 3600 * 1000  # how long a worker may be silent before it is forgotten


@dataclass(kw_only=True)
class Task:
    """The state of one task. `token` is the valid one; None without a lease."""

    level: int
    payload: bytes
    lock_key: str | None = None
    not_before: int = 0
    token: int | None = None
    worker: str = ""
    deadline: int = 0
    crashes: int = 0
    deaths: int = 0  # what those of workers count, in which it had a part
    shared: int | None = None  # the token under which it lost a worker together with others
    handed_back: int | None = None  # when it was first handed back
    alone: bool = False  # whether its holder was given it to run alone
    dead: bool = False
    retrying: bool = False
    canceled: bool = False

    @property
    def held(self) -> bool:
        return self.token is not None

    def lose(self) -> None:
        self.token, self.worker, self.retrying, self.alone = None, "", False, False

    def die(self) -> None:
        self.dead, self.deaths, self.shared, self.handed_back, self.canceled = True, 0, None, None, False


@dataclass
class QueueModel:
    """Receives every call and answer; raises AssertionError for an answer that breaks the protocol."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)  # when workers last noted that they live
    highest: int = 0  # the highest token ever given, also by contents that were lost
    remembers: bool = False
    rebuilding: str | None = None
    server_changed: bool = False
    names: dict[tuple[str, str], int] = field(default_factory=dict)  # name and fingerprint of what pools know

    def has_authority(self, task: UUID, token: int) -> bool:
        return task in self.tasks and self.tasks[task].token == token

    def held_by(self, worker: str | None) -> dict[UUID, int]:
        """The leases of a worker, or those of all for None."""
        leased = {i: t for i, t in self.tasks.items() if t.token is not None}
        return {i: t.token for i, t in leased.items() if t.token is not None and worker in (None, t.worker)}

    def living(self) -> int:
        return sum(not task.dead for task in self.tasks.values())

    def enqueued(
        self,
        batch: Sequence[Dispatch],
        answers: Sequence[Admission],
        now: int,
        cap: int,
        from_reconciler: bool,
    ) -> None:
        """An id that the queue knows is left as it is (I7); the cap holds, and once it refused, it refuses the rest.

        What the queue had before it lost it needs no room.
        """
        refused = False
        for dispatch, answer in zip(batch, answers, strict=True):
            if dispatch.task_id in self.tasks:
                expected = Admission.TAKEN
            elif dispatch.lock_key is not None and not self.remembers and not from_reconciler:
                expected = Admission.LATER
            elif refused or (not from_reconciler and 0 < cap <= self.living()):
                refused, expected = True, Admission.FULL
            else:
                expected = Admission.TAKEN
                self.tasks[dispatch.task_id] = Task(
                    level=dispatch.level,
                    payload=dispatch.payload,
                    lock_key=dispatch.lock_key,
                    not_before=now + round(dispatch.delay * 1000) if round(dispatch.delay * 1000) else 0,
                )
            assert answer is expected, f"{dispatch.task_id} was answered {answer!r} instead of {expected!r}"

    def stepped(
        self, request: StepRequest, answer: StepResult, *, now: int, lease: float, max_crashes: int
    ) -> None:
        """A step that was carried out; its replays are none."""
        worker, want = request.worker, request.want
        assert worker not in self.gone, "a worker that was declared dead was served"
        self.seen.setdefault(worker, now)
        refused = [finish for finish in request.finishes if not self._finish(finish, now)]
        assert list(answer.stale) == refused, "I4: only the holder of the token may finish"
        for task in self.tasks.values():
            if not task.held and task.not_before <= now:
                task.not_before = 0  # promoted: it stays ready if the clock goes back after this
        expired = {i: t.token for i, t in self.tasks.items() if t.held and t.deadline <= now}
        taken = {**answer.expired.requeued, **answer.expired.dead}
        assert taken == expired, "I10: exactly the expired leases are reaped"
        for dead in {self.tasks[i].worker for i in expired}:
            self._share_death(dead, begun=True)
        self._take_back(answer.expired, charge=True, max_crashes=max_crashes)
        assert len(answer.claims) <= want, "more was given out than was asked for"
        busy = request.busy or bool(self.held_by(worker))  # also where its last leases expired in this step
        for claim in answer.claims:
            self._claim(claim, worker, now, now + round(lease * 1000), request.lowest_token)
        wished = {i for i in self.held_by(worker) if self.tasks[i].canceled}
        assert answer.canceled == wished, "a cancel was lost or made up"
        alone = [i for i in self.held_by(worker) if self.tasks[i].alone]
        assert not alone or len(self.held_by(worker)) == 1, "a task that runs alone has company"
        if alone:
            assert answer.reserved, "a worker that runs a task alone was not told"
        elif answer.reserved:
            assert busy, "a worker without a lease became empty"
            assert any(self._waits_to_run_alone(task) for task in self.tasks.values()), "empty for nothing"
        elif len(answer.claims) < want:
            self._require_nothing_ready(now, busy)

    def renewed(
        self,
        worker: str,
        leases: Mapping[UUID, int],
        lost: set[UUID],
        canceled: set[UUID],
        *,
        now: int,
        lease: float,
    ) -> None:
        """I4: only a lease that is still held is prolonged, and no lost one comes back."""
        kept = {i for i, token in leases.items() if worker not in self.gone and self.has_authority(i, token)}
        assert lost == set(leases) - kept, "I4: renewed without authority, or refused with it"
        assert canceled == {i for i in kept if self.tasks[i].canceled}, "a cancel was lost or made up"
        for task in kept:
            self.tasks[task].deadline = now + round(lease * 1000)

    def released(
        self,
        worker: str | None,
        leases: Mapping[UUID, int] | None,
        revoked: Revocations,
        *,
        charge: bool,
        begun: bool,
        max_crashes: int,
        gone_at: int | None,
    ) -> None:
        """Only what the worker (None: any) holds is taken from it; a graceful release charges nothing (I10)."""
        held = self.held_by(worker)
        wanted = {i: token for i, token in leases.items() if held.get(i) == token} if leases else held
        if leases is not None and not leases and gone_at is None:
            wanted = {}
        assert {**revoked.requeued, **revoked.dead} == wanted, "I4: taken from others, or left behind"
        if charge and wanted and worker is not None:
            self._share_death(worker, begun)
        self._take_back(revoked, charge=charge, max_crashes=max_crashes)
        if gone_at is not None and worker is not None:
            self.gone[worker] = gone_at
            self.seen.pop(worker, None)
            self._forget_the_gone(gone_at)

    def registered(self, worker: str, now: int) -> None:
        """A worker that was declared dead stays so; one that was silent for an hour is forgotten."""
        if worker not in self.gone:
            self.seen[worker] = now
            self.seen = {name: at for name, at in self.seen.items() if at > now - SILENT_FOR}
            self._forget_the_gone(now)

    def locked(
        self, claims: Mapping[UUID, tuple[int, str]], parked: set[UUID], lost: set[UUID], *, now: int
    ) -> None:
        """I11 from the first delivery on: of the claims that share a key one may run, the others are void.

        Without its memory the queue has no locks, so every claim is void there and comes again in a second.
        """
        void = {i for i, (token, _) in claims.items() if not self.has_authority(i, token)}
        assert lost == void, "I4: a lock key under a lost token, or none for the holder"
        assert self.remembers or parked == set(claims) - lost, "I11: a lock given out that others may have"
        for task_id, (_, lock_key) in claims.items():
            if task_id in lost:
                continue
            task = self.tasks[task_id]
            if not self.remembers:
                task.lose()
                task.not_before, task.retrying = now + 1000, True  # one that had its key keeps it
                continue
            task.lock_key = task.lock_key or lock_key
            if task_id in parked:
                task.lose()
                rivals = [t for i, t in self.tasks.items() if t.lock_key == task.lock_key and i != task_id]
                assert any(not rival.dead for rival in rivals), "parked without a task before it"
        self.require_one_holder_for_each_key()

    def announced(self, fingerprints: Mapping[str, str], now: int) -> None:
        self.names |= dict.fromkeys(fingerprints.items(), now)
        self.names = {known: at for known, at in self.names.items() if at >= now - GONE_FOR}

    def handed_back(
        self,
        claims: Mapping[UUID, tuple[int, str, str]],
        unknown: set[UUID],
        lost: set[UUID],
        *,
        limit: int,
        delay: int,
        now: int,
    ) -> None:
        """A task waits for a pool that can run it, in its partition, until none could for the limit."""
        assert lost == {i for i, (token, _, _) in claims.items() if not self.has_authority(i, token)}, "I4"
        for task_id, (_, name, fingerprint) in claims.items():
            if task_id in lost:
                continue
            task = self.tasks[task_id]
            first = now if task.handed_back is None else task.handed_back
            others = [at for known, at in self.names.items() if known[0] == name and known[1] != fingerprint]
            last = max(others, default=None)
            if fingerprint:
                waits = last is not None and last > now - limit and now - first < limit
            else:
                waits = now - max(first, last or 0) < limit
            assert waits is (task_id not in unknown), "a task was given up too early, or too late"
            if waits:
                task.lose()
                task.retrying, task.canceled, task.handed_back = True, False, first
                lives = last is not None and now - last < 30_000
                task.not_before = now + max(delay, 0 if lives else min(30_000, (now - first) // 2))
        self.require_one_holder_for_each_key()

    def canceled(self, task_ids: Sequence[UUID], answers: Sequence[bool]) -> None:
        held = [task_id in self.tasks and self.tasks[task_id].held for task_id in task_ids]
        assert list(answers) == held, "a cancel request reached a worker without the lease, or none"
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is not None and task.held:
                task.canceled = True
            elif task is not None and not task.dead:
                del self.tasks[task_id]  # it waits; the record has ended it

    def rebuild_began(self, proposal: str, answer: str | None) -> None:
        if self.server_changed:
            self.remembers, self.rebuilding, self.server_changed = False, None, False
        if not self.remembers:
            self.rebuilding = self.rebuilding or proposal
        assert answer == (None if self.remembers else self.rebuilding), (
            "two rebuild at once, or one for nothing"
        )

    def rebuild_ended(self, name: str, answer: bool) -> None:
        if self.rebuilding == name:
            self.remembers, self.rebuilding = True, None
        assert answer is self.remembers, "a rebuilding ended that was not the one under way"

    def lost_its_memory(self) -> None:
        """Everything is gone, authority too; only `highest` goes on."""
        self.tasks.clear()
        self.gone.clear()
        self.seen.clear()
        self.names.clear()
        self.remembers, self.rebuilding = False, None

    def _forget_the_gone(self, now: int) -> None:
        self.gone = {name: at for name, at in self.gone.items() if at > now - GONE_FOR}

    def require_one_holder_for_each_key(self) -> None:
        keys = [task.lock_key for task in self.tasks.values() if task.held and task.lock_key is not None]
        assert len(keys) == len(set(keys)), "I11: two live tokens in one partition"

    def _finish(self, finish: Finish, now: int) -> bool:
        if not self.has_authority(finish.task_id, finish.token):
            return False
        task = self.tasks[finish.task_id]
        task.lose()
        if finish.disposition is Disposition.ACK:
            del self.tasks[finish.task_id]
        elif finish.disposition in (Disposition.RETRY, Disposition.DEFER):
            task.not_before = now + round(finish.delay * 1000)
            # A deferred task lets the others of its lock key pass.
            task.retrying = finish.disposition is Disposition.RETRY
            task.canceled = False
            if task.retrying:
                task.deaths, task.shared, task.handed_back = 0, None, None
        else:
            task.die()
        return True

    def _share_death(self, worker: str, begun: bool) -> None:
        """The tasks of a dead worker had a part in its death, once for each token, if none of them is charged."""
        held = self.held_by(worker)
        several = len(held) > 1
        for task_id, token in held.items() if several or not begun else ():
            task = self.tasks[task_id]
            if task.shared != token and (several or task.deaths < ALONE_AFTER):
                task.deaths, task.shared = task.deaths + 1, token

    def _waits_to_run_alone(self, task: Task) -> bool:
        return task.deaths >= ALONE_AFTER and not task.held and not task.dead

    def _take_back(self, revoked: Revocations, *, charge: bool, max_crashes: int) -> None:
        for task_id in (*revoked.requeued, *revoked.dead):
            task = self.tasks[task_id]
            token = task.token
            task.lose()
            if charge and task.shared != token:
                task.crashes += 1
                task.deaths, task.shared = task.deaths + 1, token
                if task.crashes > max_crashes:
                    task.die()
        expected = {i for i in (*revoked.requeued, *revoked.dead) if self.tasks[i].dead}
        assert set(revoked.dead) == expected, (
            "I10: dead letters begin after max_crashes, not before and not later"
        )

    def _claim(self, claim: Claim, worker: str, now: int, deadline: int, lowest_token: int) -> None:
        assert claim.task_id in self.tasks, "I2: a task that the queue does not know was given out"
        task = self.tasks[claim.task_id]
        assert not task.held, "I4: a leased task was claimed again"
        assert not task.dead, "I10: a dead letter was given out"
        assert task.not_before <= now, "a task was given out before it was due"
        assert claim.token > self.highest, "I3: a token that is not above all earlier ones"
        assert claim.token >= lowest_token, "I3: a token below what the record demands"
        assert claim.payload == task.payload, "I2: a task was given out changed"
        self.highest = claim.token
        task.token, task.worker, task.deadline, task.retrying = claim.token, worker, deadline, False
        task.alone = task.deaths >= ALONE_AFTER
        self.require_one_holder_for_each_key()

    def _require_nothing_ready(self, now: int, busy: bool) -> None:
        """A worker that got less than it asked for: all that is due waits for its lock key, or to run alone."""
        others_run = any(t.held and t.deaths >= ALONE_AFTER for t in self.tasks.values())

        def stays(task: Task) -> bool:
            return self._waits_to_run_alone(task) and (busy or others_run)

        for task_id, task in self.tasks.items():
            if task.held or task.dead or task.not_before > now:
                continue
            rivals = [t for i, t in self.tasks.items() if t.lock_key == task.lock_key and i != task_id]
            blocked = task.lock_key is not None and any(
                rival.held or (rival.retrying and rival.not_before > now) or stays(rival) for rival in rivals
            )
            assert blocked or stays(task), f"{task_id} is due and waits for nothing, but was not given out"
