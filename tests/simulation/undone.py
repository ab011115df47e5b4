"""For each stored schedule, the edit that undoes the repair of the bug it found; it must find the bug again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.planted.edits import Edit

_START = "agentexec.store.statements:STARTED"
_LOOP = "agentexec.worker.loop:WorkerLoop"
# A queue on another server is rebuilt, which also brings back what a failover has lost.
_SAME_SERVER = Edit(
    where="harness.simulation.queue.memory_queue:MemoryQueue.begin_rebuild",
    old="if books.server != self._server:",
    new="if False:",
)

# A handler begins although a renewal said that its lease is lost.
_LOST_AND_BEGUN = Edit(
    where="agentexec.worker.process:Worker._renew", old="self._give_up(unbegun)", new="pass"
)

# A queue that lost its last writes may have forgotten the claim of a run that begins after that.
_FORGOTTEN_CLAIM = Edit(
    where="harness.checkers.orphans:_may_be_given_back",
    old="if later.ended is None or later.ended.type is OperationType.INFO:",
    new="if False:",
)


class Undone(NamedTuple):
    """The edit, and the expected finding: the name of its checker and its kind.

    `also` are edits of later repairs that end the same bug in another way.
    """

    edit: Edit
    checker: str
    kind: str
    also: tuple[Edit, ...] = ()


UNDONE: Mapping[str, Undone] = MappingProxyType(
    {
        "a-token-given-twice": Undone(
            Edit(
                where=_START,
                old="AND (a.fence < v.token OR a.status {running} AND a.fence = v.token AND a.holder = v.worker)",
                new="AND (a.status = 'queued' AND a.fence < v.token OR a.status {running} AND a.fence <= v.token)",
            ),
            "fencing",
            "shared",
        ),
        "token-given-twice-to-one-worker": Undone(
            Edit(
                where=f"{_LOOP}._step",
                old="self._lowest_token = max(self._lowest_token, claim.token + 1)",
                new="pass",
            ),
            "fencing",
            "shared",
        ),
        "lock-given-twice": Undone(
            Edit(where=_START, old="o.lock_key = coalesce(a.lock_key, v.lock_key)", new="false"),
            "locks",
            "overlap",
            also=(_SAME_SERVER,),
        ),
        "lock-key-forgotten": Undone(
            Edit(
                where=_START, old="lock_key = coalesce(a.lock_key, v.lock_key),", new="lock_key = a.lock_key,"
            ),
            "locks",
            "overlap",
        ),
        "lock-key-parked-and-forgotten": Undone(
            Edit(
                where=f"{_LOOP}._lock",
                old="self._lock_keys |= keys",
                new="self._lock_keys |= {c.task_id: self._lock_key(c) for c in claims if not c.partitioned}",
            ),
            "locks",
            "overlap",
            (_LOST_AND_BEGUN,),
        ),
        "locked-out-for-ever": Undone(
            Edit(
                where="agentexec.worker.recording:_explain",
                old="disposition, delay = Disposition.DEFER",
                new="disposition, delay = Disposition.RETRY",
            ),
            "delivery",
            "stuck",
            also=(
                Edit(
                    where="agentexec.worker.reconciler:Reconciler._requeue_without_lease",
                    old="Revocations(lost, {})",
                    new="Revocations({}, {})",
                ),
                _SAME_SERVER,
            ),
        ),
        "claims-of-a-late-reply": Undone(
            Edit(
                where="harness.simulation.queue.step:reply",
                old="if books.holder.get(task_id) == Holder(token, request.worker)",
                new="if task_id in books.job",
            ),
            "locks",
            "overlap",
        ),
        "rebuild-into-a-full-queue": Undone(
            Edit(
                where="harness.simulation.queue.memory_queue:MemoryQueue.enqueue",
                old="(not from_reconciler and 0 < self.policy.max_depth <= depth)",
                new="0 < self.policy.max_depth <= depth",
            ),
            "liveness",
            "late",
        ),
        "lost-run-goes-on": Undone(
            Edit(
                where=f"{_LOOP}._step",
                old="self.runner.running().intersection(claim.task_id for claim in claims)",
                new="set().intersection(claim.task_id for claim in claims)",
            ),
            "cancels",
            "late",
        ),
        "database-away-while-everything-arrives": Undone(
            Edit(
                where="harness.simulation.producer:SimulatedProducer._until_answered",
                old="for pause in AGAIN_AFTER:",
                new="for pause in AGAIN_AFTER[:3]:",
            ),
            "delivery",
            "UNKNOWN",
        ),
        "handed-back-before-a-clock-jump": Undone(
            Edit(
                where="harness.simulation.monitor:InvariantMonitor.check",
                old="call in CHANGING",
                new='call in CHANGING - {"hand_back"}',
            ),
            "invariants",
            "after step",
            also=(
                Edit(
                    where="harness.simulation.crash_charges:CrashCharges._goes_on",
                    old=" or self._is_ready_again(books, task)",
                    new="",
                ),
            ),
        ),
        "clock-back-after-a-failover": Undone(
            Edit(
                where="harness.simulation.crash_charges:CrashCharges._explained",
                old='(abs(value["seconds"]) + later)',
                new='abs(value["seconds"])',
            ),
            "invariants",
            "after step",
        ),
        "ready-while-one-runs-alone": Undone(
            Edit(
                where="harness.simulation.promptness:Promptness._runs_one_alone",
                old=" or any(map(books.runs_alone, books.holder))",
                new="",
            ),
            "promptness",
            "late-claim",
        ),
        "lost-claim-of-a-later-run": Undone(_FORGOTTEN_CLAIM, "orphans", "orphaned"),
        "forgotten-claim-begins-later": Undone(_FORGOTTEN_CLAIM, "orphans", "orphaned"),
        "doomed-run-holds-its-lease": Undone(
            Edit(
                where="agentexec.worker.reconciler:Reconciler._requeue_without_lease",
                old="if leases.get(i, fence) < fence",
                new="if False",
            ),
            "liveness",
            "unfinished tasks after 60 quiet seconds",
        ),
        "lost-before-its-start": Undone(
            _LOST_AND_BEGUN,
            "orphans",
            "orphaned",
        ),
    }
)
