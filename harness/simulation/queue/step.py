"""A worker's step over the books in memory: what lua/step.lua is over Redis."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from agentexec.queue.protocol import Claim, Finish, Revoked, StepResult, Verb, milliseconds
from harness.simulation.queue.books import Books, Holder, Revocations, Step

REAP_AT_ONCE, PROMOTE_AT_ONCE, TURN = 64, 64, 8


def take_step(
    books: Books,
    worker: str,
    nonce: str,
    *,
    finishes: Sequence[Finish],
    want: int,
    lease: float,
    max_crashes: int,
    lowest_token: int,
    now_us: int,
) -> Step:
    """Finish what ended, promote what is due, reap what expired, claim for the free slots; keeps it for a replay."""
    now = now_us // 1000
    accepted = tuple([_finish(books, finish, now) for finish in finishes])
    for task_id in books.sched.until(now, PROMOTE_AT_ONCE):
        books.admit(task_id, to_front=False)
        books.sched.remove(task_id)
    reaped, dead = _reap(books, max_crashes, now)
    token = max(books.fence + 1, now_us, lowest_token)
    claims = _claim(books, worker, want, now + milliseconds(lease), token)
    if books.ready_left():
        books.rouse(1)
    step = Step(nonce=nonce, claims=claims, accepted=accepted, reaped=reaped, dead=dead)
    books.last[worker] = step
    return step


def reply(books: Books, worker: str, step: Step, finishes: Sequence[Finish], now: int) -> StepResult:
    """The answer to a step, or to its replay. `now` is in milliseconds. Claims that were taken back since are left out:
    their tasks may be somebody else's by now, or wait behind their lock key.
    """
    firsts = [first for first in (books.sched.first(), books.lease.first()) if first is not None]
    return StepResult(
        claims=tuple(
            Claim(
                task_id=task_id,
                token=token,
                crashes=crashes,
                level=books.job[task_id].level,
                payload=books.job[task_id].payload,
                partitioned=task_id in books.part,
            )
            for task_id, token, crashes in step.claims
            if books.own.get(task_id) == Holder(token, worker)
        ),
        stale=tuple(f for f, accepted in zip(finishes, step.accepted, strict=True) if not accepted),
        reaped=tuple(Revoked(task_id=task_id, token=token) for task_id, token in step.reaped),
        dead=tuple(Revoked(task_id=task_id, token=token) for task_id, token in step.dead),
        ready_left=books.ready_left(),
        next_due=max(0, min(firsts) - now) / 1000 if firsts else None,
    )


def _finish(books: Books, finish: Finish, now: int) -> bool:
    task_id = finish.task_id
    if not books.holds(task_id, finish.token):
        return False
    books.revoke(task_id)
    if finish.verb is Verb.DONE:
        books.forget(task_id)
    elif finish.verb in (Verb.RETRY, Verb.YIELD):
        if finish.verb is Verb.YIELD:
            books.step_aside(task_id)
        books.cancel.discard(task_id)
        books.sched.add(task_id, now + milliseconds(finish.delay))
    else:
        books.bury(task_id, finish.reason, now)
    return True


def _reap(books: Books, max_crashes: int, now: int) -> tuple[Revocations, Revocations]:
    """Take expired leases back; returns those whose tasks run again, and those whose tasks are dead."""
    reaped: list[tuple[UUID, int]] = []
    dead: list[tuple[UUID, int]] = []
    # Backwards, since each goes to the front of its list: what expired first is first again.
    for task_id in reversed(books.lease.until(now, REAP_AT_ONCE)):
        token = books.own[task_id].token
        books.revoke(task_id)
        alive = books.give_back(task_id, charge=True, max_crashes=max_crashes, at=now)
        (reaped if alive else dead).append((task_id, token))
    return tuple(reaped), tuple(dead)


def _claim(
    books: Books, worker: str, want: int, deadline: int, token: int
) -> tuple[tuple[UUID, int, int], ...]:
    turn, claims = books.turn, []
    for _ in range(want):
        turn += 1
        task_id = books.pop(turn, TURN)
        if task_id is None:
            break
        books.own[task_id] = Holder(token, worker)
        books.lease.add(task_id, deadline)
        claims.append((task_id, token, books.crash.get(task_id, 0)))
        token += 1
    if claims:
        books.fence, books.turn = token - 1, turn % TURN
    return tuple(claims)
