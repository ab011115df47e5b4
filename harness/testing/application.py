"""An own application as a target, with its invariants as checkers."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from harness.checkers import delivery
from harness.checkers.base import Checker
from harness.checkers.invariants import PREFIX, completed_of, invariant, judged
from harness.environments.base import SERVICES, Endpoints, Topology
from harness.errors import FOREIGN_ERRORS, TargetFailed, UsageError, describe_error
from harness.history import INVARIANT, Operation, OperationType
from harness.history.promises import Promises
from harness.targets.application_reference import on_servers, reference_of
from harness.targets.base import PoolHandle, Submission, TargetSession, TargetSettings, TaskSpec
from harness.testing.kinds import Make, WrappedApplication, wrap_of
from harness.testing.leftovers import Leftovers
from harness.testing.sources import Source, as_found, http_source, redis_source, sql_source

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Setup = Callable[..., object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Invariant:
    """What must hold for the tasks of an application; `source` is None for a function of the completed tasks."""

    name: str
    function: Callable[..., Any]
    source: Source | None

    def checker(self) -> Checker:
        """The checker that judges it."""
        return invariant(self.name, None if self.source is None else self.function)

    def observe(self, endpoints: Endpoints, recorded: Iterable[Operation]) -> dict[str, Any]:
        """What its source gives now, or without one its answer, as a value of a history. Raises nothing."""
        try:
            if self.source is not None:
                return {"found": as_found(self.source(endpoints))}
        except FOREIGN_ERRORS as error:
            why = str(error) if type(error) is ValueError else describe_error(error)
            return {"error": f"the source failed: {why}. Correct it"}
        try:
            return {
                "broken": [list(one) for one in judged(self.function, {}, completed_of(recorded)).items()]
            }
        except ValueError as error:
            return {"error": str(error)}


@dataclass(kw_only=True, eq=False)
class Application:
    """An application under test, as `app` makes it: a target whose invariants are checkers."""

    why_no_producer: ClassVar[str] = (
        "the process of the harness makes and submits the tasks of an application"
    )

    application: Any
    wrapped: WrappedApplication
    setup: Setup | None = None
    allow_errors: bool = False
    invariants: list[Invariant] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name in reports: `module:NAME` of the variable that holds it."""
        return reference_of(self)

    def invariant(
        self,
        name: str,
        *,
        sql: str | None = None,
        redis: str | Sequence[Any] | Callable[[Any], Any] | None = None,
        http: str | None = None,
    ) -> Callable[[FunctionT], FunctionT]:
        """Judge every run of this application with the decorated function, which says which tasks break `name`.

        It takes what the source gives after the drain, and the ids of the completed tasks; without a source it takes
        these ids alone. `sql` is a query, `redis` a command or a function of a client, `http` the URL of a page.

        A result of two columns, a hash or a JSON object is a mapping, in which a task finds its value under its id or
        its number. The function returns the tasks that break the invariant as a set or a list, a mapping of task to
        reason, or True or False for all of it.

        Raises `UsageError` for two sources, a name that is taken, or a function that does not take these arguments.
        """
        given = {"sql": sql, "redis": redis, "http": http}
        named = [source for source, value in given.items() if value is not None]
        if len(named) > 1:
            raise UsageError(f"The invariant {name!r} has the sources {' and '.join(named)}. Give one.")
        if not name or name in (one.name for one in self.invariants):
            raise UsageError(
                f"An invariant needs a name of its own, not {name!r}. Say in a few words what must hold."
            )
        source: Source | None = None
        if sql is not None:
            source = sql_source(sql)
        elif redis is not None:
            source = redis_source(redis)
        elif http is not None:
            source = http_source(http)

        def add(function: FunctionT) -> FunctionT:
            _require_arguments(name, function, ("rows", "completed") if named else ("completed",))
            self.invariants.append(Invariant(name=name, function=function, source=source))
            return function

        return add

    def version(self) -> str:
        """The version of the system that runs the application."""
        return self.wrapped.version()

    @property
    def needs(self) -> Sequence[str]:
        """The services that the system needs; empty for Postgres and Redis."""
        found: Sequence[str] = getattr(self.wrapped, "needs", ())
        return found

    @property
    def topologies(self) -> Collection[Topology]:
        """Those of the system."""
        found: Collection[Topology] = getattr(self.wrapped, "topologies", ())
        return found

    @property
    def services(self) -> Sequence[str]:
        """The services that a fault may strike: its own handlers may use Postgres and Redis too."""
        return tuple(dict.fromkeys((*SERVICES, *self.needs)))

    @property
    def task_names(self) -> Collection[str] | None:
        """The names that its tasks may have, None if they are not known before a run."""
        names: Collection[str] | None = getattr(self.wrapped, "task_names", None)
        return names

    def promises(self, settings: TargetSettings) -> Promises:
        """What that system promises."""
        return self.wrapped.promises(settings)

    def checkers(self) -> Mapping[str, Checker]:
        """The checkers of the invariants by name, and with `allow_errors` a `delivery` that allows them."""
        own = {PREFIX + one.name: one.checker() for one in self.invariants}
        return own | ({"delivery": delivery(allow_errors=True)} if self.allow_errors else {})

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        """Open a session of the application and call its `setup`; raises `TargetFailed`."""
        closing_all = ExitStack()
        try:
            closing_all.enter_context(on_servers(endpoints))
            session = self.wrapped.open(endpoints, settings)
            closing_all.callback(session.close)
            if settings.disposable:
                # It ends before the session, whose schema may be what the application refers to.
                closing_all.callback(Leftovers(endpoints).remove)
            self._set_up(endpoints)
        except BaseException:
            closing_all.close()
            raise
        return JudgedSession(session, self.invariants, endpoints, closing_all)

    def _set_up(self, endpoints: Endpoints) -> None:
        if self.setup is None:
            return
        urls = (endpoints.database_url, endpoints.redis_url)
        try:
            done = self.setup(*urls[: _urls_taken(self.setup)])
            if inspect.isawaitable(done):
                asyncio.run(_awaited(done))
        except FOREIGN_ERRORS as error:
            raise TargetFailed(f"setup raised {describe_error(error)}. Correct it.") from error


class JudgedSession:
    """A session whose evidence has what the invariants found."""

    def __init__(
        self,
        session: TargetSession,
        invariants: Sequence[Invariant],
        endpoints: Endpoints,
        closing_all: ExitStack,
    ) -> None:
        self._session = session
        self._invariants = invariants
        self._endpoints = endpoints
        self._closing_all = closing_all

    def __getattr__(self, name: str) -> Any:
        """What else the session has: the methods that a target need not have."""
        return getattr(self._session, name)

    def start_pool(self) -> PoolHandle:
        return self._session.start_pool()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return self._session.submit(tasks)

    def unfinished(self) -> int:
        return self._session.unfinished()

    def witnesses(self) -> Iterator[Operation]:
        recorded: list[Operation] = []
        for operation in self._session.witnesses():
            if operation.f == "record":
                recorded.append(operation)
            yield operation
        for one in self._invariants:
            yield Operation(
                time=time.monotonic_ns(),
                process="application",
                type=OperationType.INFO,
                f=INVARIANT,
                value={"name": one.name, **one.observe(self._endpoints, recorded)},
            )

    def close(self) -> None:
        self._closing_all.close()


def app(
    application: Any,
    *,
    make: Make,
    setup: Setup | None = None,
    work: float | None = None,
    allow_errors: bool = False,
) -> Application:
    """An application under test with its own handlers. Hold it in a module-level variable: workers import it.

    `application` is what runs the handlers: an `ax.Pool` of agentexec, or the object of another system that
    docs/howto/your-own-app.md lists. `make(n)` gives task number n: (name, context), (name, context, options) with the
    options of an enqueue, or an `ax.TaskRequest`; for other systems (task, args) or (task, args, options), or what the
    system itself calls a task, such as a signature of Celery.

    `setup(database_url)`, or `setup(database_url, redis_url)`, runs before the first pool, for example to create the
    tables of the application. A run stays open for `work` seconds after its handler has returned, so that faults fall
    between the effect of a handler and its acknowledgement; None is for the time of the workload, a few tenths of a
    second, and 0 suits handlers that take long themselves. `allow_errors` is for handlers that fail some tasks for
    good.

    Raises `UsageError` for what it cannot run.
    """
    if not callable(make):
        raise UsageError(f"make is {type(make).__name__}. Pass a function of the number of a task.")
    if setup is not None and _urls_taken(setup) not in (1, 2):
        raise UsageError("setup takes the URLs of the run's servers. Write def setup(database_url): ...")
    if work is not None and not (type(work) in (int, float) and 0 <= work < math.inf):
        raise UsageError(f"work is {work!r}. Give seconds, 0 for none, or leave it out.")

    def reference() -> str:
        return reference_of(found, application)

    wrapped = wrap_of(application)(application, make=make, reference=reference, work=work)
    found = Application(application=application, wrapped=wrapped, setup=setup, allow_errors=allow_errors)
    return found


async def _awaited(done: Awaitable[object]) -> None:
    await done


def _urls_taken(setup: Any) -> int:
    """How many URLs a call of `setup` gives: what it requires by position, and one if it only could take one."""
    if not callable(setup):
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(setup).parameters.values()
    required = sum(one.kind in kinds and one.default is one.empty for one in found)
    could = any(one.kind in (*kinds, inspect.Parameter.VAR_POSITIONAL) for one in found)
    return required or int(could)


def _require_arguments(name: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    if not callable(function):
        raise UsageError(f"The invariant {name!r} decorates {type(function).__name__}. Decorate a function.")
    signature = inspect.signature(function)
    for count in range(len(arguments), 0, -1):
        try:
            signature.bind(*arguments[:count])
            return
        except TypeError:
            continue
    raise UsageError(
        f"The function of the invariant {name!r} takes other arguments. Write def f({', '.join(arguments)})."
    )
