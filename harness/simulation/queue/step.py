"""A worker's step over the books in memory, as lua/step.lua does it over Redis."""

from __future__ import annotations

from uuid import UUID

from agentexec.queue.protocol import (
    Claim,
    Disposition,
    Finish,
    QueuePolicy,
    Revocations,
    StepRequest,
    StepResult,
    milliseconds,
)
from harness.simulation.queue.books import Books, Holder, Reserved, Step

REVOKE_AT_ONCE, PROMOTE_AT_ONCE, TURN = 64, 64, 8
QUIET_AFTER, QUIET, NOT_QUIET = 5000, 5000, 30_000  # milliseconds


def take_step(books: Books, request: StepRequest, policy: QueuePolicy, now_us: int) -> Step:
    """Finish, promote due tasks, revoke expired leases, claim for the free slots; keeps the step for a replay."""
    now = now_us // 1000
    accepted = tuple([_finish(books, finish, now) for finish in request.finishes])
    _promote(books, now)
    expired = _expire(books, books.max_crashes(policy.max_crashes), now)
    token = max(books.fence + 1, now_us, request.lowest_token)
    deadline = now + milliseconds(policy.lease_seconds)
    reserved: Reserved = _still_reserved(books, request.worker)
    claims: tuple[tuple[UUID, int], ...] = ()
    if request.want and reserved is None and books.alone:
        reserved, claims = _reserve(books, request, now, deadline, token)
    if reserved is None:
        claims = _claim(books, request, deadline, token)
    if books.ready_left():
        books.wake_up(1)
    step = Step(nonce=request.nonce, claims=claims, accepted=accepted, expired=expired, reserved=reserved)
    books.last[request.worker] = step
    books.seen.setdefault(request.worker, now)
    return step


def reply(books: Books, request: StepRequest, step: Step, now: int) -> StepResult:
    """The answer to a step, or to its replay. `now` is in milliseconds.

    Claims that were revoked since are left out: their tasks may have other holders by now, or wait for their lock key.
    """
    firsts = [first for first in (books.sched.first(), books.lease.first()) if first is not None]
    return StepResult(
        claims=tuple(
            Claim(
                task_id=task_id,
                token=token,
                payload=books.job[task_id].payload,
                partitioned=task_id in books.part,
            )
            for task_id, token in step.claims
            if books.holder.get(task_id) == Holder(token, request.worker)
        ),
        stale=tuple(f for f, accepted in zip(request.finishes, step.accepted, strict=True) if not accepted),
        expired=step.expired,
        next_due=max(0, min(firsts) - now) / 1000 if firsts else None,
        canceled=frozenset(
            i for i in books.cancel if i in books.holder and books.holder[i].worker == request.worker
        ),
        reserved=step.reserved is not None,
        names=books.names_changed,
    )


def _promote(books: Books, now: int) -> None:
    handed_back: list[UUID] = []
    for task_id in books.sched.until(now, PROMOTE_AT_ONCE):
        books.sched.remove(task_id)
        if task_id in books.unknown:
            handed_back.append(task_id)
        else:
            books.admit(task_id, now, to_front=False)
    for task_id in reversed(handed_back):
        books.admit(task_id, now, to_front=True)


def _finish(books: Books, finish: Finish, now: int) -> bool:
    task_id = finish.task_id
    if not books.holds(task_id, finish.token):
        return False
    books.revoke(task_id)
    match finish.disposition:
        case Disposition.ACK:
            books.remove(task_id, now)
        case Disposition.DEAD_LETTER:
            books.dead_letter(task_id, finish.reason, now)
        case _:
            if finish.disposition is Disposition.DEFER:
                books.free_partition(task_id, now)
            else:
                books.clear(task_id)
            books.cancel.discard(task_id)
            books.sched.add(task_id, now + milliseconds(finish.delay))
    return True


def _expire(books: Books, max_crashes: int, now: int) -> Revocations:
    """Revoke expired leases."""
    requeued: dict[UUID, int] = {}
    dead: dict[UUID, int] = {}
    # In reverse, because each goes to the front of its list: the lease that expired first is then first in its list.
    expired = [(i, books.holder[i]) for i in reversed(books.lease.until(now, REVOKE_AT_ONCE))]
    for worker in {by.worker for _, by in expired}:
        books.share_death(worker)
    for task_id, by in expired:
        token = by.token
        books.revoke(task_id)
        alive = books.requeue(task_id, token, charge=True, max_crashes=max_crashes, at=now)
        (requeued if alive else dead)[task_id] = token
    return Revocations(requeued, dead)


def _still_reserved(books: Books, worker: str) -> UUID | None:
    """The task that the worker runs alone."""
    last = books.last.get(worker)
    if last is None or not isinstance(last.reserved, UUID):
        return None
    by = books.holder.get(last.reserved)
    return last.reserved if by is not None and by.worker == worker else None


def _reserve(
    books: Books, request: StepRequest, now: int, deadline: int, token: int
) -> tuple[Reserved, tuple[tuple[UUID, int], ...]]:
    """Give the worker a task to run alone, or let it become empty; returns why it is reserved, and its claims."""
    worker, (until, quiet) = request.worker, books.quiet
    if request.busy or books.held_by(worker):
        if (quiet != worker and until > now) or now - (books.alone.first() or 0) < QUIET_AFTER:
            return None, ()
        books.quiet = now + QUIET, worker
        return "quiet", ()
    if sum(map(books.runs_alone, books.holder)) >= max(1, books.living_workers(now) // 2):
        if quiet == worker:
            books.quiet = now + NOT_QUIET, ""
        return None, ()
    task_id = next(iter(books.alone))
    books.alone.remove(task_id)
    if quiet == worker:
        books.quiet = 0, ""
    books.wake_up(min(1, len(books.alone)))
    _hold(books, task_id, worker, token, deadline)
    books.fence = token
    return task_id, ((task_id, token),)


def _hold(books: Books, task_id: UUID, worker: str, token: int, deadline: int) -> None:
    books.holder[task_id] = Holder(token, worker)
    books.lease.add(task_id, deadline)


def _claim(books: Books, request: StepRequest, deadline: int, token: int) -> tuple[tuple[UUID, int], ...]:
    turn, claims = books.turn, []
    for _ in range(request.want):
        turn += 1
        task_id = books.pop(turn, TURN)
        if task_id is None:
            break
        _hold(books, task_id, request.worker, token, deadline)
        claims.append((task_id, token))
        token += 1
    if claims:
        books.fence, books.turn = token - 1, turn % TURN
    return tuple(claims)
