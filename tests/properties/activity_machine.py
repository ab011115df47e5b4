"""A state machine of activities: workers crash, freeze, continue late, and write after they lost their leases.

Every action goes through agentexec: steps of the queue, batches of a worker, and the reconciler. A model predicts the
results from the invariants alone (docs/reference/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Engine, text

from agentexec.config import load_settings
from agentexec.core.identity import host_identity
from agentexec.queue.protocol import Claim, Dispatch, Finish, StepResult, Verb
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.models import ACTIVITY_TABLE
from agentexec.store.rows import ActivityUpdate, LogEntry
from agentexec.store.status import Status
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.recording import Batch, Recorded, record
from tests.properties.model import Expected, Holding, WorkerState
from tests.support.queue_invariants import contents, require_consistent
from tests.support.record import OVER, new_activity, require_sound, rows_of

MAX_CRASHES = 1
LEASE = 600.0  # never ends by itself within a test
NO_SUCH_PID = 2**22 + 1  # above the largest that Linux gives
WORKERS = ("left", "right")
VERBS = {
    Status.COMPLETE: Verb.DONE,
    Status.CANCELED: Verb.DONE,
    Status.ERROR: Verb.DEAD,
    Status.QUEUED: Verb.RETRY,
}


T = TypeVar("T")


# Statuses are drawn as text, so that a printed example is Python.
picks = st.integers(min_value=0, max_value=2**16)
workers = st.sampled_from(WORKERS)


class ActivityMachine(RuleBasedStateMachine):
    """The rules are actions of producers, workers, operators and faults. A subclass provides the servers."""

    # Imports of a printed example, so that it runs where it is pasted.
    imports: ClassVar[Sequence[str]] = ()

    def __init__(self) -> None:
        super().__init__()
        if currently_in_test_context():
            note("\n".join(self.imports))

    def servers(self) -> tuple[Engine, RedisQueue]:
        """A database that has the tables, and an empty queue."""
        raise AssertionError("a subclass provides the servers")

    @initialize()
    def begin(self) -> None:
        self.engine, self.queue = self.servers()
        settings = load_settings(database_url=str(self.engine.url), max_crashes=MAX_CRASHES)
        self.reconciler = Reconciler(self.engine, self.queue, settings)
        self.expected: dict[UUID, Expected] = {}
        self.workers = {slot: WorkerState(_new_name()) for slot in WORKERS}
        self.late_runs: list[Holding] = []
        self.lengths: dict[UUID, int] = {}
        self.fences: dict[UUID, int] = {}
        self.tokens: dict[UUID, int] = {}  # the highest issued by the queue
        self.crashes: dict[UUID, int] = {}  # counted by the queue, which may lose them
        self.reconciler.heal(thorough=False)
        self.enqueue(dispatched=True, level=1)
        self.enqueue(dispatched=True, level=0)

    # Producers and operators.

    @precondition(lambda self: self.expected)
    @rule(pick=picks)
    def dispatch_again(self, pick: int) -> None:
        """The reply to a dispatch was lost, or the outbox dispatcher does not see the dispatch yet."""
        task = _pick(list(self.expected), pick)
        if self.queue.known([task])[0]:
            before = contents(self.queue)
            self.queue.enqueue([Dispatch(task_id=task, payload=b"{}", level=1)])
            assert contents(self.queue) == before, "a task in the queue was added once more"

    @rule(dispatched=st.sampled_from([True, True, False]), level=st.integers(0, 1))
    def enqueue(self, dispatched: bool, level: int) -> None:
        """`dispatched` is False for a producer that died between its commit and its dispatch."""
        activity = new_activity(self.queue.name)
        with self.engine.begin() as connection:
            statements.record_enqueued(connection, [activity])
            # Long ago: the reconciler waits two seconds for a producer to dispatch by itself.
            age = f"UPDATE {ACTIVITY_TABLE} SET created_at = :then WHERE queue_name = :queue"
            connection.execute(text(age), {"then": "2020-01-01 00:00:00.000000", "queue": self.queue.name})
        self.expected[activity.id] = Expected()
        if dispatched:
            self.queue.enqueue([Dispatch(task_id=activity.id, payload=b"{}", level=level)])
            with self.engine.begin() as connection:
                statements.mark_dispatched(connection, [activity.id])

    @precondition(lambda self: self.expected)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        task = _pick(list(self.expected), pick)
        before = self.expected[task].status
        self.expected[task].cancel()
        with self.engine.begin() as connection:
            standing = statements.request_cancel(connection, [task], "Canceled on request.")
        wanted = {} if before in OVER else {task: Status(self.expected[task].status)}
        assert standing == wanted, "a cancel returned a wrong status"
        if standing.get(task) is Status.RUNNING:
            self.queue.request_cancel([task])

    # Workers.

    @rule(slot=workers, want=st.integers(1, 3), records=st.booleans(), due=st.booleans(), twice=st.booleans())
    def take(self, slot: str, want: int, records: bool, due: bool, twice: bool) -> None:
        """A whole round: claim and start. `due` lets the delays of all retries pass before it."""
        if due:
            self._let_retries_fall_due()
        self.claim(slot, want, records)
        self._start(self.workers[slot], twice=twice)

    @rule(slot=workers, want=st.integers(0, 3), records=st.booleans())
    def claim(self, slot: str, want: int, records: bool) -> None:
        """`records` is False for a worker that dies before it records the leases that the queue revoked."""
        worker = self.workers[slot]
        nonce, finishes = uuid4().hex, worker.finishes
        worker.finishes = []
        tokens = self._tokens()
        answer = self._step(worker, nonce, finishes, want)
        stale = tuple(f for f in finishes if tokens.get(f.task_id, (0, ""))[0] != f.token)
        assert answer.stale == stale, "the queue accepted the wrong finishes"
        self._count_crashes([r.task_id for r in answer.reaped], [r.task_id for r in answer.dead])
        for claim in answer.claims:
            assert claim.token > self.tokens.get(claim.task_id, 0), "a token was issued twice"
            self.tokens[claim.task_id] = claim.token
        worker.last_step = (nonce, finishes, want, answer)
        worker.take(answer.claims)
        if records:
            self._record_revoked(answer)

    @precondition(lambda self: any(worker.last_step for worker in self.workers.values()))
    @rule(pick=picks)
    def send_the_last_step_again(self, pick: int) -> None:
        worker = _pick([worker for worker in self.workers.values() if worker.last_step], pick)
        assert worker.last_step is not None
        nonce, finishes, want, first = worker.last_step
        before, tokens = contents(self.queue), self._tokens()
        again = self._step(worker, nonce, finishes, want)
        assert contents(self.queue) == before, "I7: a step sent again changed the queue"
        same = (again.stale, again.reaped, again.dead) == (first.stale, first.reaped, first.dead)
        assert same, "I7: a step sent again returned another answer"
        left = [(c.task_id, c.token) for c in first.claims if tokens.get(c.task_id) == (c.token, worker.name)]
        claims = [(c.task_id, c.token) for c in again.claims]
        assert claims == left, "I7: a step sent again returned other claims than those still leased"

    @precondition(lambda self: any(worker.claims for worker in self.workers.values()))
    @rule(pick=picks, twice=st.booleans())
    def start(self, pick: int, twice: bool) -> None:
        """A worker records the start of all its claims; `twice` if the reply of the commit was lost."""
        self._start(_pick([worker for worker in self.workers.values() if worker.claims], pick), twice=twice)

    @precondition(lambda self: self._running())
    @rule(pick=picks)
    def progress(self, pick: int) -> None:
        _, holding = _pick(self._running(), pick)
        self._append(holding)

    @precondition(lambda self: self._running())
    @rule(
        pick=picks,
        status=st.sampled_from(["complete", "error", "queued", "canceled"]),
        twice=st.booleans(),
        report=st.booleans(),
    )
    def end(self, pick: int, status: str, twice: bool, report: bool) -> None:
        """A handler ended; with `report`, its last progress is in the same batch."""
        self._end(*_pick(self._running(), pick), status, twice=twice, report=report)

    @rule(
        slot=workers,
        statuses=st.lists(st.sampled_from(["complete", "queued", "error"]), min_size=1, max_size=3),
        frozen=st.booleans(),
    )
    def work(self, slot: str, statuses: list[str], frozen: bool) -> None:
        """Claim, start and end tasks; `frozen` stops the worker after the ends are recorded and before the finish."""
        self.take(slot, len(statuses), records=True, due=True, twice=False)
        for status in statuses:
            if self.workers[slot].running:
                self._end(
                    self.workers[slot], self.workers[slot].running[0], status, twice=False, report=False
                )
        if frozen:
            self.freeze(slot, taken_over=True, records=True, renews=False, sends=None)

    @precondition(lambda self: self._running())
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        """A shutdown releases a task without charge."""
        self._release(*_pick(self._running(), pick))

    @rule(slot=workers, times=st.integers(2, 3))
    def shut_down_one_after_another(self, slot: str, times: int) -> None:
        """Several deployments in a row each release the running tasks."""
        for _ in range(times):
            self.take(slot, 3, records=True, due=True, twice=False)
            for holding in list(self.workers[slot].running):
                self._release(self.workers[slot], holding)

    @rule(slot=workers)
    def renew(self, slot: str) -> None:
        """A worker renews all its leases and learns which it lost; it may act on that late."""
        worker = self.workers[slot]
        tokens_sent = {h.task: h.token for h in worker.running} | {c.task_id: c.token for c in worker.claims}
        holders = self._tokens()
        lost, _ = self.queue.renew(worker.name, tokens_sent, lease=LEASE)
        gone = {i for i, t in tokens_sent.items() if holders.get(i) != (t, worker.name)}
        assert lost == gone, "the queue renewed the wrong leases"
        assert self._tokens() == holders, "a renewal changed a holder"

    # Faults.

    @precondition(lambda self: any(worker.claims or worker.running for worker in self.workers.values()))
    @rule(slot=workers, by_neighbour=st.booleans())
    def crash(self, slot: str, by_neighbour: bool) -> None:
        """A worker process dies; its pool notices, or with `by_neighbour` another pool of the same host."""
        worker = self.workers[slot]
        self.workers[slot] = WorkerState(_new_name())
        self.late_runs += worker.running
        self.late_runs += [Holding(claim.task_id, claim.token) for claim in worker.claims]
        held = self._leases_of(worker.name)
        if by_neighbour:
            self.queue.register(worker.name, f"{host_identity()}|{NO_SUCH_PID}|1")
            self.reconciler.release_dead_neighbours()
            assert worker.name not in self.queue.registered(), "a dead worker is still registered"
        else:
            self.reconciler.release_worker(worker.name, charge=True)
        dead = self.queue.dead_reasons(list(held))
        self._count_crashes(set(held) - set(dead), dead)
        for task, token in held.items():
            self.expected[task].lose(token, "error" if task in dead else "queued")

    @precondition(lambda self: any(worker.claims or worker.running for worker in self.workers.values()))
    @rule(
        slot=workers,
        taken_over=st.booleans(),
        records=st.booleans(),
        renews=st.booleans(),
        sends=st.sampled_from([None, "complete", "queued"]),
    )
    def freeze(self, slot: str, taken_over: bool, records: bool, renews: bool, sends: str | None) -> None:
        """A worker stops until its leases have expired, then continues unaware, and may send an update."""
        for task in self._leases_of(self.workers[slot].name):
            self.queue.client.zadd(self.queue.keys.lease, {str(task): 1}, xx=True)
        if taken_over:
            (other,) = set(WORKERS) - {slot}
            self.take(other, 3, records, due=False, twice=False)
        if renews:
            self.renew(slot)
        for holding in self.workers[slot].running:
            if sends is not None and self.expected[holding.task].fence != holding.token:
                self._finish(holding, Status(sends))

    @precondition(lambda self: self.late_runs or self._running())
    @rule(
        pick=picks,
        status=st.sampled_from(["complete", "error", "queued"]),
        start=st.booleans(),
    )
    def late_writes(self, pick: int, status: str, start: bool) -> None:
        """Writes of a dead worker, or of one that lost its lease, arrive under the old token."""
        lost = [h for _, h in self._running() if self.expected[h.task].fence != h.token]
        if lost or self.late_runs:
            late = _pick(lost + self.late_runs, pick)
            if start:
                claim = Claim(task_id=late.task, token=late.token, crashes=0, level=1, payload=b"{}")
                self._record_starts([claim])
            else:
                self._append(late)
                self._finish(late, Status(status))

    @precondition(lambda self: self.expected)
    @rule(healed=st.booleans())
    def redis_loses_everything(self, healed: bool) -> None:
        self.queue.drop()
        self.crashes.clear()
        for worker in self.workers.values():
            worker.last_step = None
        if healed:
            self.heal(thorough=False)

    @rule(thorough=st.booleans())
    def heal(self, thorough: bool) -> None:
        forgot = not self.queue.client.hexists(self.queue.keys.cfg, "epoch")
        dead = set(self.queue.dead_reasons(list(self.expected)))
        self.reconciler.heal(thorough=thorough)
        if forgot or thorough:
            for task in dead:
                self.expected[task].never_ran(self.expected[task].fence + 1, "error")
        pending = [task for task, expected in self.expected.items() if expected.status not in OVER]
        healed = all(self.queue.known(pending))
        assert healed or not (forgot or thorough), "a pending task is not in the queue after a reconciliation"

    # Invariants.

    @invariant()
    def the_queue_is_consistent(self) -> None:
        if hasattr(self, "queue"):
            require_consistent(self.queue)

    @invariant()
    def the_record_is_as_expected(self) -> None:
        if not hasattr(self, "engine"):
            return
        rows = rows_of(self.engine, list(self.expected))
        for task, expected in self.expected.items():
            row = rows[task]
            require_sound(row)
            found = (row.status, row.fence, row.attempt)
            wanted = (expected.status, expected.fence, expected.attempt)
            assert found == wanted, f"the row is not as expected: {row}"
            assert row.cancel_requested == expected.flagged, "a cancel request was lost, or invented"
            assert row.fence >= self.fences.get(task, 0), "a fence fell"
            self.fences[task] = row.fence
            if task in self.lengths:
                assert len(row.log) == self.lengths[task], "a log grew after its end"
            elif row.status in OVER:
                self.lengths[task] = len(row.log)

    def teardown(self) -> None:
        """A reconciliation and a live worker bring every task to its end."""
        if hasattr(self, "engine"):
            self._drain()
            self.the_queue_is_consistent()
            self.the_record_is_as_expected()
            left = {task for task, expected in self.expected.items() if expected.status not in OVER}
            assert not left, "tasks that never ended"
            self.close()

    def close(self) -> None:
        """Close the connections."""

    def _drain(self) -> None:
        for slot in WORKERS:
            self.crash(slot, by_neighbour=False)
        self.heal(thorough=True)
        for _ in range(4 * len(self.expected) + 4):
            self.take("left", 8, records=True, due=True, twice=False)
            while self._running():
                self.end(0, "complete", twice=False, report=False)
            depth = self.queue.depth()
            if depth.known == depth.dead and not self.workers["left"].finishes:
                break
        self.heal(thorough=True)

    def _start(self, worker: WorkerState, *, twice: bool) -> None:
        claims, worker.claims = worker.claims, []
        recorded = self._record_starts(claims, times=1 + twice)
        for claim in claims:
            if claim.task_id in recorded.attempts:
                worker.running.append(Holding(claim.task_id, claim.token))
            else:
                self._refuse(worker, claim, outranked=recorded.outranked.get(claim.task_id))

    def _record_starts(self, claims: Sequence[Claim], *, times: int = 1) -> Recorded:
        """Send starts; each must be accepted exactly if the model accepts it."""
        for _ in range(times):
            recorded = self._record(Batch(claims=claims))
        for claim in claims:
            expected = self.expected[claim.task_id]
            if expected.flagged:
                expected.never_ran(claim.token, "canceled")
            if expected.start(claim.token):
                assert recorded.attempts[claim.task_id].attempt == expected.attempt, (
                    "attempts were miscounted"
                )
            else:
                assert claim.task_id not in recorded.attempts, "a start was accepted that should be refused"
        return recorded

    def _let_retries_fall_due(self) -> None:
        due: list[Any] = self.queue.client.zrange(self.queue.keys.sched, 0, -1)
        for task in due:
            self.queue.client.zadd(self.queue.keys.sched, {task: 1})

    def _running(self) -> list[tuple[WorkerState, Holding]]:
        return [(worker, holding) for worker in self.workers.values() for holding in worker.running]

    def _step(self, worker: WorkerState, nonce: str, finishes: list[Finish], want: int) -> StepResult:
        return self.queue.step(
            worker.name,
            nonce,
            finishes=finishes,
            want=want,
            lease=LEASE,
            max_crashes=MAX_CRASHES,
            lowest_token=worker.lowest_token,
        )

    def _record_revoked(self, answer: StepResult) -> None:
        with self.engine.begin() as connection:
            for lost, status in ((answer.reaped, Status.QUEUED), (answer.dead, Status.ERROR)):
                tokens = {r.task_id: r.token for r in lost}
                moved = statements.record_revoked(connection, tokens, status, "Lost.")
                lost_by = {i for i, token in tokens.items() if self.expected[i].lose(token, status.value)}
                assert moved == lost_by, "a revocation changed a row of another run, or left one out"

    def _refuse(self, worker: WorkerState, claim: Claim, outranked: int | None) -> None:
        expected = self.expected[claim.task_id]
        if outranked is None:
            assert expected.status in OVER, "a start was refused that should be accepted"
            worker.finishes.append(Finish(task_id=claim.task_id, token=claim.token, verb=Verb.DONE))
        else:
            assert outranked == expected.fence, "a start was refused under a token that is not the fence"
            worker.lowest_token = max(worker.lowest_token, outranked + 1)
            worker.finishes.append(Finish(task_id=claim.task_id, token=claim.token, verb=Verb.RETRY))

    def _record(self, batch: Batch) -> Recorded:
        return record(self.engine, batch, started_message="Started.", give_up=lambda: True)

    def _append(self, holding: Holding) -> None:
        entry = LogEntry(
            id=holding.task, token=holding.token, n=holding.entries, message="half", percentage=50
        )
        holding.entries += 1
        with self.engine.begin() as connection:
            statements.record_progress(connection, [entry])

    def _finish(
        self, holding: Holding, status: Status, *, times: int = 1, report: bool = False, failed: bool = False
    ) -> str | None:
        """Send an update; it must be accepted exactly if the model accepts it."""
        entries = []
        if report:
            entries = [LogEntry(id=holding.task, token=holding.token, n=holding.entries, message="nearly")]
            holding.entries += 1
        error = "broke" if status is Status.ERROR else None
        outcome = ActivityUpdate(
            id=holding.task,
            token=holding.token,
            n=holding.entries,
            status=status,
            message="Over.",
            error=error,
            failed=failed,
        )
        holding.entries += 1
        was = self.expected[holding.task]
        sent_before = was.fence == holding.token and was.status != "running"
        became = self.expected[holding.task].end(holding.token, status.value)
        for _ in range(times):
            recorded = self._record(Batch(entries=entries, outcomes=[outcome]))
            if not sent_before:
                accepted = {holding.task: Status(became)} if became else {}
                assert recorded.accepted == accepted, "the wrong updates were accepted"
        return became

    def _end(self, worker: WorkerState, holding: Holding, status: str, *, twice: bool, report: bool) -> None:
        worker.running.remove(holding)
        # The handler failed and has retries left.
        failed = status == "queued"
        accepted = self._finish(holding, Status(status), times=1 + twice, report=report, failed=failed)
        verb = VERBS[Status(accepted)] if accepted else Verb.DONE
        reason = "failed for good" if verb is Verb.DEAD else ""
        if accepted or self.expected[holding.task].status in OVER:
            worker.finishes.append(
                Finish(task_id=holding.task, token=holding.token, verb=verb, reason=reason, delay=0)
            )

    def _release(self, worker: WorkerState, holding: Holding) -> None:
        worker.running.remove(holding)
        lease = {holding.task: holding.token}
        if self._finish(holding, Status.QUEUED) == "queued":
            _, dead = self.queue.release(
                worker.name, lease, charge=False, max_crashes=MAX_CRASHES, declare_gone=False
            )
            assert not dead, "a release was counted as a crash"
        elif self.expected[holding.task].status in OVER:
            worker.finishes.append(Finish(task_id=holding.task, token=holding.token, verb=Verb.DONE))

    def _count_crashes(self, alive: Iterable[UUID], dead: Iterable[UUID]) -> None:
        """Workers died or lost their leases: a task is dead-lettered once they are more than the limit, not before."""
        for tasks, dead_lettered in ((alive, False), (dead, True)):
            for task in tasks:
                self.crashes[task] = self.crashes.get(task, 0) + 1
                assert (self.crashes[task] > MAX_CRASHES) is dead_lettered, "crashes were miscounted"

    def _leases_of(self, worker: str) -> dict[UUID, int]:
        return {task: token for task, (token, by) in self._tokens().items() if by == worker}

    def _tokens(self) -> dict[UUID, tuple[int, str]]:
        """The token and the holder of each leased task, as the queue has them."""
        owners: dict[Any, Any] = self.queue.client.hgetall(self.queue.keys.own)
        pairs = [(UUID(task.decode()), owner.decode().partition("|")) for task, owner in owners.items()]
        return {task: (int(token), by) for task, (token, _, by) in pairs}


def _new_name() -> str:
    return uuid4().hex[:8]


def _pick(things: list[T], pick: int) -> T:
    return things[pick % len(things)]
