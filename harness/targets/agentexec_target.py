"""agentexec as a target: starts its pools, submits tasks, and reads its activity store and queue."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

import redis
from sqlalchemy import ColumnElement, Executable, NullPool, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec.activity import PENDING, Activity
from agentexec.config import normalised_database_url
from agentexec.producer.requeue import requeue
from agentexec.queue import redis_queue
from agentexec.queue.dead_letters import DeadLetters
from agentexec.queue.keys import result_key
from agentexec.store.dialects import PREFIX
from harness.environments.base import Endpoints, Topology
from harness.errors import TargetFailed, describe_error
from harness.history import Operation
from harness.history.names import RESULT
from harness.history.promises import Promises
from harness.targets.agentexec_evidence import evidence, remove_queue, stored_operations, stored_rows
from harness.targets.agentexec_schema import TemporarySchema
from harness.targets.agentexec_tasks import ENV_VERSION, NEW_TASK_NAME, TASK_NAME, Numbered, Numbered2
from harness.targets.base import OperatorAction, Submission, TargetSettings, TaskFeature, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.promised import everything
from harness.targets.queue_owners import redis_orphans
from harness.targets.subprocess_pool import SubprocessPool

# Activities per round trip to the queue.
_BATCH = 1000


class AgentexecSession:
    """agentexec on given servers with its own queue; `close` removes its rows, keys and tables."""

    pool = "harness.targets.agentexec_pool:pool"
    """The pool that `agentexec worker` runs."""
    number: tuple[str, ...] = ("number",)
    """Where the context of a task has its number; that of a task which a handler enqueued has none."""

    reads_results: ClassVar[bool] = True
    """Whether the history has what handlers return; the results of an own application stay out of it."""

    def __init__(self, endpoints: Endpoints, settings: TargetSettings) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._pools = 0
        self._client = ax.Client(
            database_url=endpoints.database_url, redis_url=endpoints.redis_url, queue_name=settings.queue
        )
        self._schema = TemporarySchema(self._client.engine.url)

    def request(self, task: TaskSpec) -> ax.TaskRequest:
        """The request that submits a task."""
        return _request(task)

    def folder(self) -> Path:
        """The working folder of the pools."""
        return self._settings.folder

    def prepare(self) -> None:
        """Create the schema if it is missing, and connect to Redis."""
        self._schema.create()
        self._client.redis.ping()

    def start_pool(self) -> SubprocessPool:
        """Start `agentexec worker` and return once its workers have imported the handlers."""
        versions = self._settings.versions
        version = versions[min(self._pools, len(versions) - 1)]
        self._pools += 1
        return SubprocessPool.start(
            worker_command(self.pool, self._settings),
            environment=self.environment() | {ENV_VERSION: str(version)},
            settings=replace(self._settings, folder=self.folder()),
            name=f"pool-{self._pools}",
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Enqueue all tasks in one transaction; a failure is certain only if agentexec refused a task."""
        try:
            recorded = self._client.enqueue_many_sync([self.request(task) for task in tasks])
        except (ax.AgentexecError, SQLAlchemyError, redis.RedisError) as error:
            certain = isinstance(error, ax.InvalidTask)
            return [Submission(number=t.number, error=describe_error(error), certain=certain) for t in tasks]
        return [
            Submission(number=task.number, activity=str(record.agent_id))
            for task, record in zip(tasks, recorded, strict=True)
        ]

    @property
    def agentexec_queue(self) -> str:
        """The queue that the gauges of a load read."""
        return self._settings.queue

    def command_names(self) -> dict[str, str]:
        """The names of the queue's scripts, by what a wire calls their commands."""
        return {
            f"EVALSHA {hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()[:8]}": f"EVALSHA {name}.lua"
            for name in redis_queue.SCRIPTS
            if (source := redis_queue.script_source(name, flags=True))
        }

    def cancel(self, activities: Sequence[str]) -> list[str]:
        """Cancel tasks; returns those that had not ended. Raises `TargetFailed` if the servers fail."""
        with _failures("cancel"):
            return [str(one) for one in self._client.cancel([UUID(activity) for activity in activities])]

    def unfinished(self) -> int:
        """How many activities of this queue are not in a terminal state."""
        with _failures("read its activities"):
            return int(self._read(select(func.count()).where(*self._is_pending()))[0][0])

    def queued_tasks(self) -> Mapping[str, bool]:
        """Each unfinished activity, and whether the queue has it; raises `TargetFailed` if a server does not answer."""
        with _failures("compare its tasks"):
            before = self._pending()
            known = self._client.queue.known(before)
            # A worker records an end before it removes the task from the queue.
            still = set(self._pending())
        return {str(one): there for one, there in zip(before, known, strict=True) if one in still}

    def _pending(self) -> list[UUID]:
        return [row[0] for row in self._read(select(Activity.id).where(*self._is_pending()))]

    def own(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions of the activities of this session: all of its queue."""
        return (Activity.queue_name == self._settings.queue,)

    def _is_pending(self) -> tuple[ColumnElement[bool], ...]:
        return *self.own(), Activity.status.in_(list(PENDING))

    def movement(self) -> object:
        """How many activities have each status, and how many tasks the queue has in each state."""
        counted = select(Activity.status, func.count()).where(*self.own()).group_by(Activity.status)
        with _failures("count its tasks"):
            statuses = {status: number for status, number in self._read(counted)}  # noqa: C416 - rows
            return statuses, self._client.queue.depth()

    def clean_up(self, age: float) -> int:
        """Archive the activities that ended more than `age` seconds ago; raises `TargetFailed`."""
        with _failures("clean up"):
            old = timedelta(seconds=age)
            return ax.activity.cleanup_old_activities(self._client.engine, older_than=old, archive=True)

    def operate(self, action: OperatorAction, activities: Sequence[str]) -> None:
        """Do it with all that has ended, or with these dead letters; raises `TargetFailed`."""
        with _failures(f"do what an operator asks for ({action})"):
            match action:
                case OperatorAction.CLEAN_UP:
                    self.clean_up(0.0)
                case OperatorAction.REQUEUE:
                    for activity in activities:
                        requeue(self._client, activity)
                case OperatorAction.PURGE:
                    DeadLetters(self._client.queue, self._client.engine).purge(activities)

    def start_service(self) -> int:
        """Cancel what the queue does not know, as a service does at its start, without any grace."""
        with _failures("cancel orphans"), Session(self._client.engine) as session:
            return ax.activity.cancel_pending(session, grace=0.0, client=self._client)

    def migrate(self, *, previous: bool) -> int:
        """Bring the tables to the newest revision, or to the one before; returns how many revisions that took."""
        try:
            from harness.targets.agentexec_migrations import migrate  # it needs the extra `migrations`
        except ModuleNotFoundError:
            raise TargetFailed(
                "Migrations need Alembic. Install it with `pip install 'agentexec-harness[migrations]'`."
            ) from None
        with _failures("migrate its tables"):
            return migrate(self._client.engine, previous=previous)

    def stored(self, database_url: str | None = None) -> Iterator[Operation]:
        """The activity log and the activities, with those in the archive; those of another database if one is given."""
        engine = self._client.engine
        if database_url is not None:
            url = normalised_database_url(database_url)
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        # One moment for all tables: a clean-up may move rows from one to the other meanwhile.
        reading = engine.execution_options(isolation_level="REPEATABLE READ")
        with _failures("read its activities"), reading.connect() as connection:
            rows = stored_rows(connection, self._settings.queue, self.number)
        # No transaction is open any more, however long the reader of these operations takes.
        yield from stored_operations(rows, results=self.reads_results)

    def witnesses(self) -> Iterator[Operation]:
        """The activity log, the activities, and the remaining content of this queue."""
        activities, tasks = [], {}
        for operation in self.stored():
            yield operation
            if operation.f != "transition":
                activities.append(UUID(operation.value["activity"]))
            if operation.f == "record":
                tasks[activities[-1]] = operation.value["task"]
        yield from self._shown_results(tasks)
        depth = self._client.queue.depth()
        yield evidence(
            "redis",
            "queue",
            {
                "ready": depth.ready,
                "leased": depth.leased,
                "scheduled": depth.scheduled,
                "parked": depth.parked,
                "dead": depth.dead,
                "known": depth.known,
                "held": self._remaining(activities),
                "orphans": redis_orphans(self._client.redis, self._client.queue.keys, activities),
            },
        )

    def _remaining(self, activities: Sequence[UUID]) -> list[str]:
        """The activities that are still in the queue, without its dead letters."""
        remaining: list[str] = []
        for first in range(0, len(activities), _BATCH):
            batch = activities[first : first + _BATCH]
            dead = self._client.queue.dead_reasons(batch)
            known = zip(batch, self._client.queue.known(batch), strict=True)
            remaining += [str(one) for one, is_known in known if is_known and one not in dead]
        return remaining

    def _shown_results(self, tasks: Mapping[UUID, int]) -> Iterator[Operation]:
        """The results that callers read in Redis, where `get_result` looks first."""
        for first in range(0, len(tasks) if self.reads_results else 0, _BATCH):
            batch = list(tasks)[first : first + _BATCH]
            for activity, kept in zip(batch, self._client.redis.mget(map(result_key, batch)), strict=True):
                if kept is not None:
                    value = {"task": tasks[activity], "activity": str(activity), "result": json.loads(kept)}
                    yield evidence("redis", RESULT, value)

    def close(self) -> None:
        """Remove the rows and keys of this session, disconnect, and remove the tables that it created."""
        try:
            self._remove()
        except (SQLAlchemyError, redis.RedisError) as error:
            raise TargetFailed(
                f"The data of the queue {self._settings.queue} could not be removed: {describe_error(error)}. "
                "Delete the activities and keys of that queue."
            ) from None

    def _remove(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._schema.drop)
            stack.callback(self._client.close)  # before that: its threads write to the tables
            with self._client.engine.begin() as connection:
                removed = remove_queue(connection, self._settings.queue)
            self._client.queue.drop(results=removed)

    def discard(self) -> None:
        """Close the session after a failure in `prepare`, without another error."""
        self._client.close()
        with suppress(SQLAlchemyError):
            self._schema.drop()

    def _read(self, query: Executable) -> Sequence[Any]:
        # Without a BEGIN and a ROLLBACK: a run asks this many times a second.
        with self._client.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            return connection.execute(query).all()

    def environment(self) -> dict[str, str]:
        """The environment variables of the pools."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")},
            # The pool runs in the run's folder, but must import the same modules as this process.
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            **self.settings_of_run(),
        }

    def settings_of_run(self) -> dict[str, str]:
        """The environment variables by which a run decides how its pools run."""
        settings = self._settings
        return {
            **worker_environment(settings.history, settings.gate_address),
            "DATABASE_URL": self._endpoints.database_url,
            "REDIS_URL": self._endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": settings.queue,
            "AGENTEXEC_TABLE_PREFIX": PREFIX,
            "AGENTEXEC_NUM_WORKERS": str(settings.workers),
            "AGENTEXEC_WORKER_CONCURRENCY": str(settings.concurrency),
            "AGENTEXEC_LEASE_SECONDS": str(settings.lease),
            "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT": str(settings.graceful_shutdown),
        }


def worker_command(pool: str, settings: TargetSettings) -> list[str]:
    """The command that runs a pool: `agentexec worker`, also as a fork of the fork server of the run."""
    program = ["agentexec", "worker"] if settings.fork_server is None else ["harness.targets.forked_worker"]
    return [sys.executable, "-m", *program, pool]


class PreparedSession(Protocol):
    """A session that has to be prepared before its use, and discarded if that fails."""

    def prepare(self) -> None:
        """Check or make what the session needs."""
        ...

    def discard(self) -> None:
        """Disconnect after a failure in `prepare`."""
        ...


SessionT = TypeVar("SessionT", bound=PreparedSession)


def opened(make: Callable[[], SessionT]) -> SessionT:
    """A prepared session; raises `TargetFailed`."""
    session = None
    try:
        session = make()
        session.prepare()
    except (ax.AgentexecError, SQLAlchemyError, redis.RedisError) as error:
        if session is not None:
            session.discard()
        raise TargetFailed(
            f"agentexec cannot use the servers: {describe_error(error)}. See their logs."
        ) from None
    return session


# What the pools and their workers import, but for the module of the pool, which reads the settings of the run.
IMPORTS = (
    "agentexec.cli.worker",
    "agentexec.worker.process",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "harness.targets.agentexec_target",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentexecTarget:
    """The reference implementation in this repository."""

    name: str = "agentexec"
    task_names: ClassVar[tuple[str, ...]] = ()
    features: tuple[TaskFeature, ...] = tuple(TaskFeature)
    topologies: tuple[Topology, ...] = tuple(Topology)
    operator_actions: ClassVar[tuple[OperatorAction, ...]] = tuple(OperatorAction)
    imports: ClassVar[tuple[str, ...]] = IMPORTS

    def promises(self, settings: TargetSettings) -> Promises:
        """All that there are."""
        return everything(settings)

    def version(self) -> str:
        """The version of the installed agentexec."""
        return ax.__version__

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> AgentexecSession:
        """Open a session and create the schema if it is missing; raises `TargetFailed`."""
        return opened(lambda: AgentexecSession(endpoints, settings))


TARGET = AgentexecTarget()


def _request(task: TaskSpec) -> ax.TaskRequest:
    context = Numbered(number=task.number, work=task.work, gate=task.gate, lock=task.lock, fails=task.fails)
    name = TASK_NAME
    if task.version > 1 and task.number % 2:
        context = Numbered2(**context.model_dump(), note="new")
    elif task.version > 1:
        name = NEW_TASK_NAME
    priority = ax.Priority.LOW if task.priority is None else ax.Priority(task.priority)
    return ax.TaskRequest(
        task_name=name,
        context=context,
        priority=priority,
        lock_key=task.lock,
        delay=task.delay,
        idempotency_key=task.key,
    )


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except (ax.AgentexecError, SQLAlchemyError, redis.RedisError) as error:
        raise TargetFailed(
            f"agentexec could not {what}: {describe_error(error)}. See the logs of the servers."
        ) from None
