"""Do the four evidence sources agree: the client, the workers, Postgres and Redis?

Each source is independent of the others. If two of them contradict each other, one is wrong; the kind of the
counterexample names the pair. Evidence of only one source is no contradiction, and an unknown outcome is none either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.delivery import account
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation, OperationType
from harness.history.ending import open_end
from harness.history.faults import killed_workers
from harness.history.fields import activity_of, optional_number, task_of, whole
from harness.history.figures import counted
from harness.history.promises import delivers_again
from harness.history.records import completions, records
from harness.history.runs import Run, runs
from harness.history.statuses import TERMINAL

SOURCES = {"client": "enqueue", "workers": "run", "postgres": "record", "redis": "queue"}
PAIRS = (
    *("client-workers", "client-postgres", "client-redis"),
    *("workers-postgres", "workers-redis", "postgres-redis"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """A contradiction between numbers, which names no task."""

    kind: str
    why: str


@keeps_settings
def witnesses() -> Checker:
    """No two of the four evidence sources contradict each other, at the end of a run that was drained.

    client-workers: no worker ran a task that was never submitted or certainly refused. client-postgres: each
    acknowledged activity has a record, no refused task has one. client-redis: the queue knows no more tasks than were
    submitted. workers-postgres: for each complete activity a handler returned under that fence, and no handler
    returned under a fence above the record's. workers-redis: the queue holds no task that its last holder finished,
    if that worker was not killed. postgres-redis: the queue holds every task with a pending record and none with a
    terminal one (dead letters aside, and second deliveries of a system that may deliver a task again). If the `queue`
    operation names the activities that it `held`, tasks are compared, else numbers. UNKNOWN if one of the four has no
    evidence at all, and if the run ended too early (`open_end`) and all contradictions are of a kind that a system
    which goes on may resolve.
    """

    def check(history: History) -> CheckResult:
        missing = [name for name, f in SOURCES.items() if next(history.where(f), None) is None]
        if missing:
            summary = f"the history has no evidence from {' and '.join(missing)}"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        unexpected, unanswered = [*_unexpected(history)], [*_unanswered(history)]
        certain: list[Counterexample | _Count] = [*_too_many(history), *_workers_and_postgres(history)]
        left = [*_redis(history)]
        found: list[Counterexample | _Count] = [*unexpected, *unanswered, *certain, *left]
        why = open_end(history) if found and not unexpected and not certain else None
        named = [one for one in found if isinstance(one, Counterexample)]
        numbers = [one for one in found if isinstance(one, _Count)]
        summary = "client, workers, Postgres and Redis agree"
        if found:
            summary = f"{counted(len(found), 'contradiction')}; the first: {found[0].kind}: {found[0].why}"
        if why is not None:
            summary += f"; they are not judged: {why}"
        return CheckResult(
            verdict=Verdict.of(wrong=bool(found) and why is None, unsure=bool(found)),
            summary=summary,
            figures={pair.replace("-", "_"): sum(one.kind == pair for one in found) for pair in PAIRS},
            counterexamples=(
                *({"kind": one.kind, "why": one.why} for one in numbers),
                *explain(history, named),
            ),
        )

    return check


def _unexpected(history: History) -> Iterator[Counterexample]:
    found, recorded = account(history), records(history)
    for task, why in found.unexpected.items():
        if task in found.started:
            yield Counterexample(
                kind="client-workers", task=task, why=f"by the client's evidence {why}, but a worker ran it"
            )
    by_task = {task_of(record) for record in recorded.values()}
    for task, why in found.unexpected.items():
        if task in by_task:
            yield Counterexample(
                kind="client-postgres",
                task=task,
                why=f"by the client's evidence {why}, but Postgres has a record of it",
            )


def _too_many(history: History) -> Iterator[_Count]:
    found, recorded = account(history), records(history)
    known = optional_number(_queue(history), "known")
    submitted = len(found.attempted - found.refused)
    if known is not None and known > max(submitted, len(recorded)):
        yield _Count(
            kind="client-redis",
            why=f"at most {counted(submitted, 'task', 'were')} submitted, but Redis knows {known}",
        )


def _unanswered(history: History) -> Iterator[Counterexample]:
    """Acknowledged activities without a record."""
    recorded = records(history)
    by_task = {task_of(record) for record in recorded.values()}
    for op in history.where("enqueue", OperationType.OK):
        name = activity_of(op)
        if (name is not None and name not in recorded) or (name is None and task_of(op) not in by_task):
            why = "the client got an acknowledgement, but Postgres has no record of it"
            yield Counterexample(kind="client-postgres", task=task_of(op), why=why)


def _workers_and_postgres(history: History) -> Iterator[Counterexample]:
    finished: dict[str, set[int]] = {}
    for run in runs(history):
        if run.finished and run.fence is not None:
            finished.setdefault(run.subject, set()).add(run.fence)
    recorded = records(history)
    for name, fences in completions(history).items():
        unproven = sorted(fences - finished.get(name, set()))
        if unproven and name in recorded:
            why = f"Postgres records it as complete under fence {unproven[0]}, but no handler returned under that fence"
            yield Counterexample(kind="workers-postgres", task=task_of(recorded[name]), why=why)
    for name, returned in finished.items():
        record = recorded.get(name)
        if record is None or record.value.get("fence") is None:
            continue
        if (last := max(returned)) > whole(record, "fence"):
            why = (
                f"a handler returned under fence {last}, but Postgres has only fence {record.value['fence']}"
            )
            yield Counterexample(kind="workers-postgres", task=task_of(record), why=why)


def _redis(history: History) -> Iterator[Counterexample | _Count]:
    recorded = records(history)
    pending = {name for name, op in recorded.items() if str(op.value.get("status")) not in TERMINAL}
    last = _queue(history)
    named, waiting = last.value.get("held"), _waiting(last)
    if named is not None and not isinstance(named, list | tuple):
        raise ValueError(f"the queue names {named!r} as held; record a list of activities")
    if named is not None:
        held = {str(one) for one in named}
        held -= recorded.keys() - pending if delivers_again(history) else set()
        yield from _held_and_recorded(held, pending, recorded)
        yield from _finished_and_held(history, held)
    elif waiting == 0:
        yield from _held_and_recorded(set(), pending, recorded)
    elif waiting is not None and (
        waiting < len(pending) if delivers_again(history) else waiting != len(pending)
    ):
        why = f"Postgres has {len(pending)} pending tasks, but Redis holds {waiting}, dead letters aside"
        yield _Count(kind="postgres-redis", why=why)


def _held_and_recorded(
    held: set[str], pending: set[str], recorded: Mapping[str, Operation]
) -> Iterator[Counterexample]:
    for name in sorted((held & recorded.keys()) - pending):
        why = f"its record is {recorded[name].value.get('status')}, but Redis still holds it"
        yield Counterexample(kind="postgres-redis", task=task_of(recorded[name]), why=why)
    for name in sorted(pending - held):
        why = f"its record is {recorded[name].value.get('status')}, but Redis does not hold it"
        yield Counterexample(kind="postgres-redis", task=task_of(recorded[name]), why=why)


def _waiting(queue: Operation) -> int | None:
    """The number of known tasks without dead letters; None if the queue does not report it."""
    known, dead = optional_number(queue, "known"), queue.value.get("dead") or 0
    return None if known is None else known - (len(dead) if isinstance(dead, list | tuple) else dead)


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
            why = (
                f"{run.process} finished it under the last fence and was not killed, but Redis still holds it"
            )
            yield Counterexample(kind="workers-redis", task=run.task, why=why)


def _queue(history: History) -> Operation:
    """The last report of the queue."""
    *_, last = history.where("queue")
    return last
