"""What QUEUE.md promises of any queue, watched from outside: whoever is asked, and whatever two of them agree on.

An observer is told of each call and its answer, and knows nothing of how the queue keeps its books. It raises
AssertionError where an answer breaks a promise: tokens of a task only rise, also over a loss of memory (I3); only the
present holder's word counts (I4); what is held is not given to anybody else, and one task of a lock key is held at a
time (I11); crashes are counted one by one, and a release that is not charged counts as none (I10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from agentexec.queue import Admission, Dispatch, Finish, Revoked, StepResult, Verb


class Laws:
    """One queue's life as its users see it."""

    def __init__(self) -> None:
        self._highest: dict[UUID, int] = {}  # outlives the queue's memory
        self.forgotten()

    def forgotten(self) -> None:
        """The queue lost its memory."""
        self._known: set[UUID] = set()
        self._held: dict[UUID, tuple[int, str]] = {}
        self._crashes: dict[UUID, int] = {}
        self._locks: dict[UUID, str] = {}
        self._last: dict[str, str] = {}

    def enqueued(self, tasks: Sequence[Dispatch], answers: Sequence[Admission]) -> None:
        for task, answer in zip(tasks, answers, strict=True):
            if answer is Admission.TAKEN and task.task_id not in self._known:
                self._known.add(task.task_id)
                if task.lock_key is not None:
                    self._locks[task.task_id] = task.lock_key

    def stepped(
        self, worker: str, nonce: str, finishes: Sequence[Finish], max_crashes: int, answer: StepResult
    ) -> None:
        if self._last.get(worker) == nonce:  # a reply that was given before
            return
        self._last[worker] = nonce
        assert answer.stale == tuple([f for f in finishes if not self._finish(f)]), "whose word counts"
        self._revoked(answer.reaped, charge=True, max_crashes=max_crashes, buried=False)
        self._revoked(answer.dead, charge=True, max_crashes=max_crashes, buried=True)
        for claim in answer.claims:
            assert claim.token > self._highest.get(claim.task_id, 0), "a token that did not rise"
            assert claim.task_id not in self._held, "given to two"
            self._highest[claim.task_id] = claim.token
            self._held[claim.task_id] = claim.token, worker
        locked = [self._locks[i] for i in self._held if i in self._locks]
        assert len(locked) == len(set(locked)), "two holders of one lock"

    def renewed(self, leases: Mapping[UUID, int], lost: Iterable[UUID], *, gone: bool) -> None:
        assert set(lost) == {i for i, token in leases.items() if gone or not self._holds(i, token)}, (
            "whose renewal counts"
        )

    def locked(self, claims: Mapping[UUID, tuple[int, str]], parked: Iterable[UUID]) -> None:
        for task_id, (token, lock_key) in claims.items():
            if self._holds(task_id, token):
                self._locks.setdefault(task_id, lock_key)
        for task_id in parked:
            del self._held[task_id]

    def released(
        self,
        worker: str,
        leases: Mapping[UUID, int] | None,
        answer: tuple[Sequence[Revoked], Sequence[Revoked]],
        *,
        charge: bool,
        max_crashes: int,
        declare_gone: bool,
    ) -> None:
        own = {(i, token) for i, (token, by) in self._held.items() if by == worker}
        asked = own & set(leases.items()) if leases else own
        given = [(r.task_id, r.token) for part in answer for r in part]
        if leases is None or leases or declare_gone:
            assert sorted(given) == sorted(asked), "whose leases were released"
        self._revoked(answer[0], charge=charge, max_crashes=max_crashes, buried=False)
        self._revoked(answer[1], charge=charge, max_crashes=max_crashes, buried=True)
        if declare_gone:
            self._last.pop(worker, None)

    def _holds(self, task_id: UUID, token: int) -> bool:
        return self._held.get(task_id, (0, ""))[0] == token

    def _finish(self, finish: Finish) -> bool:
        if not self._holds(finish.task_id, finish.token):
            return False
        del self._held[finish.task_id]
        if finish.verb is Verb.DONE:
            self._known.discard(finish.task_id)
            self._crashes.pop(finish.task_id, None)
        if finish.verb is not Verb.RETRY:
            self._locks.pop(finish.task_id, None)
        return True

    def _revoked(self, revoked: Iterable[Revoked], *, charge: bool, max_crashes: int, buried: bool) -> None:
        for one in revoked:
            assert self._holds(one.task_id, one.token), "taken from somebody who did not have it"
            del self._held[one.task_id]
            if charge:
                self._crashes[one.task_id] = self._crashes.get(one.task_id, 0) + 1
            dies = charge and self._crashes[one.task_id] > max_crashes
            assert buried is dies, "a crash that was miscounted"
            if buried:
                self._locks.pop(one.task_id, None)
