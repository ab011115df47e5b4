"""Do the four witnesses agree: the client, the workers, Postgres and Redis?

Each knows something that the others cannot make up. Where two contradict each other one of them is wrong, and that is
told by the pair, since it says where to look. What only one of them says, and what is merely not known, contradicts
nobody: an unknown outcome fits either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.delivery import account
from harness.checkers.transitions import TERMINAL
from harness.history import History, Operation, OperationType
from harness.history.reading import (
    Run,
    activity_of,
    killed_workers,
    runs,
    task_of,
    whole,
)
from harness.history.records import completions, records

SAYS = {"client": "enqueue", "workers": "run", "postgres": "record", "redis": "queue"}
PAIRS = (
    *("client-workers", "client-postgres", "client-redis"),
    *("workers-postgres", "workers-redis", "postgres-redis"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """A contradiction of numbers, which names no task."""

    kind: str
    why: str


def witnesses() -> Checker:
    """No two of the four witnesses contradict each other, at the end of a run that was drained.

    client-workers: nobody ran what was never submitted or certainly refused. client-postgres: each acknowledged
    activity has a record, nothing refused has one. client-redis: the queue knows no more tasks than were submitted.
    workers-postgres: what is complete was returned by a handler under that fence, and no handler returned under a
    fence above the record's. workers-redis: the queue holds nothing that its last holder finished and lived to say so.
    postgres-redis: the queue holds what the record calls pending, and nothing that it calls terminal (dead letters
    aside). Where the `queue` operation names what it `held`, tasks are compared, else numbers. UNKNOWN where one of the
    four says nothing at all.
    """

    def check(history: History) -> CheckResult:
        silent = [name for name, f in SAYS.items() if next(history.where(f), None) is None]
        if silent:
            summary = f"nothing was heard of {' and '.join(silent)}"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        found = [*_client(history), *_workers_and_postgres(history), *_redis(history)]
        told = [one for one in found if isinstance(one, Counterexample)]
        counted = [one for one in found if isinstance(one, _Count)]
        summary = "client, workers, Postgres and Redis agree"
        if found:
            summary = f"{len(found)} contradictions; the first: {found[0].kind}: {found[0].why}"
        return CheckResult(
            verdict=Verdict.INVALID if found else Verdict.VALID,
            summary=summary,
            figures={pair.replace("-", "_"): sum(one.kind == pair for one in found) for pair in PAIRS},
            counterexamples=(
                *({"kind": one.kind, "why": one.why} for one in counted),
                *explain(history, told),
            ),
        )

    return check


def _client(history: History) -> Iterator[Counterexample | _Count]:
    found, recorded = account(history), records(history)
    for task, why in found.unexpected.items():
        if task in found.started:
            yield Counterexample(
                kind="client-workers", task=task, why=f"the client says: {why}; a worker ran it"
            )
    by_task = {task_of(record) for record in recorded.values()}
    for task, why in found.unexpected.items():
        if task in by_task:
            yield Counterexample(
                kind="client-postgres", task=task, why=f"the client says: {why}; Postgres has a record"
            )
    for op in history.where("enqueue", OperationType.OK):
        name = activity_of(op)
        if (name is not None and name not in recorded) or (name is None and task_of(op) not in by_task):
            why = "the client was told that it is accepted, Postgres has no record of it"
            yield Counterexample(kind="client-postgres", task=task_of(op), why=why)
    known = _queue(history).value.get("known")
    submitted = len(found.attempted - found.refused)
    if type(known) is int and known > max(submitted, len(recorded)):
        yield _Count(
            kind="client-redis", why=f"{submitted} tasks may have been submitted, Redis knows {known}"
        )


def _workers_and_postgres(history: History) -> Iterator[Counterexample]:
    finished: dict[str, set[int]] = {}
    for run in runs(history):
        if run.finished and run.fence is not None:
            finished.setdefault(run.subject, set()).add(run.fence)
    recorded = records(history)
    for name, fences in completions(history).items():
        unearned = sorted(fences - finished.get(name, set()))
        if unearned and name in recorded:
            why = f"Postgres has it complete under fence {unearned[0]}, no worker returned from it under that fence"
            yield Counterexample(kind="workers-postgres", task=task_of(recorded[name]), why=why)
    for name, returned in finished.items():
        record = recorded.get(name)
        if record is None or record.value.get("fence") is None:
            continue
        if (last := max(returned)) > whole(record, "fence"):
            why = f"a worker returned from it under fence {last}, Postgres knows only fence {record.value['fence']}"
            yield Counterexample(kind="workers-postgres", task=task_of(record), why=why)


def _redis(history: History) -> Iterator[Counterexample | _Count]:
    recorded = records(history)
    pending = {name for name, op in recorded.items() if op.value.get("status") not in TERMINAL}
    last = _queue(history)
    named, waiting = last.value.get("held"), _waiting(last)
    if isinstance(named, list | tuple):
        held = {str(one) for one in named}
        yield from _held_and_recorded(held, pending, recorded)
        yield from _finished_and_held(history, held)
    elif waiting == 0:
        yield from _held_and_recorded(set(), pending, recorded)
    elif waiting is not None and waiting != len(pending):
        why = f"Postgres calls {len(pending)} tasks pending, Redis holds {waiting} beside the dead"
        yield _Count(kind="postgres-redis", why=why)


def _held_and_recorded(
    held: set[str], pending: set[str], recorded: Mapping[str, Operation]
) -> Iterator[Counterexample]:
    for name in sorted((held & recorded.keys()) - pending):
        why = f"Postgres says {recorded[name].value.get('status')}, Redis still holds it"
        yield Counterexample(kind="postgres-redis", task=task_of(recorded[name]), why=why)
    for name in sorted(pending - held):
        why = f"Postgres says {recorded[name].value.get('status')}, Redis does not know it"
        yield Counterexample(kind="postgres-redis", task=task_of(recorded[name]), why=why)


def _waiting(queue: Operation) -> int | None:
    """How many tasks the queue knows beside its dead letters; None where it does not count."""
    known, dead = queue.value.get("known"), queue.value.get("dead") or 0
    return known - (len(dead) if isinstance(dead, list | tuple) else dead) if type(known) is int else None


def _finished_and_held(history: History, held: set[str]) -> Iterator[Counterexample]:
    latest: dict[str, Run] = {}
    for run in runs(history) if held else ():
        if run.subject in held and run.fence is not None:
            before = latest.get(run.subject)
            if before is None or before.fence is None or run.fence > before.fence:
                latest[run.subject] = run
    killed = killed_workers(history)
    for run in latest.values():
        if run.finished and run.process not in killed:
            why = f"{run.process} finished it under the last fence and lived on, Redis still holds it"
            yield Counterexample(kind="workers-redis", task=run.task, why=why)


def _queue(history: History) -> Operation:
    """The queue's last word."""
    *_, last = history.where("queue")
    return last
