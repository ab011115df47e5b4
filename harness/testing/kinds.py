"""The kinds of applications that `app` takes, by the package of the object that runs them.

A package adds a kind by an entry point in the group `harness.applications`: its name is the package of the
application's class, and its value is a `Wrap`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType, ModuleType
from typing import Any, Protocol

from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.history.promises import Promises
from harness.targets.applications.settings import system_of
from harness.targets.base import TargetSession, TargetSettings
from harness.targets.reference import require_reference_of

GROUP = "harness.applications"
# The entry points of pyproject.toml, for a checkout that is not installed.
_BUNDLED = {
    "agentexec": "harness.targets.applications.agentexec:AgentexecApplication.wrap",
    "celery": "harness.targets.applications.celery:CeleryApplication.wrap",
    "arq": "harness.targets.applications.arq:ArqApplication.wrap",
    "saq": "harness.targets.applications.saq:SaqApplication.wrap",
    "streaq": "harness.targets.applications.streaq:StreaqApplication.wrap",
    "taskiq": "harness.targets.applications.taskiq:TaskiqApplication.wrap",
    "taskiq_redis": "harness.targets.applications.taskiq:TaskiqApplication.wrap",
    "dramatiq": "harness.targets.applications.dramatiq:DramatiqApplication.wrap",
    "huey": "harness.targets.applications.huey:HueyApplication.wrap",
    "pgqueuer": "harness.targets.applications.pgqueuer:PgqueuerApplication.wrap",
    "procrastinate": "harness.targets.applications.procrastinate:ProcrastinateApplication.wrap",
    "rq": "harness.targets.applications.rq:RqApplication.wrap",
}

Make = Callable[[int], Any]


class WrappedApplication(Protocol):
    """An application with its own handlers, which are recorded from outside while a run has its pools started."""

    def version(self) -> str:
        """The version of the system that runs the application."""
        ...

    def promises(self, settings: TargetSettings) -> Promises:
        """What that system promises under the settings of a run."""
        ...

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> TargetSession:
        """Open a session whose tasks `make` makes; raises `TargetFailed`."""
        ...


class Wrap(Protocol):
    """Wraps the object that runs an application. Raises `UsageError` if it is none.

    `make` gives a task for its number. `reference` names the application for worker processes to import. `work` are the
    seconds for which a run stays open after its handler, None for those of the workload.
    """

    def __call__(
        self, value: object, /, *, make: Make, reference: Callable[[], str], work: float | None
    ) -> WrappedApplication: ...


def wrap_of(value: object) -> Wrap:
    """What wraps an object of this kind; raises `UsageError` that lists the known kinds."""
    points = {name: EntryPoint(name=name, value=path, group=GROUP) for name, path in _BUNDLED.items()}
    points |= {point.name: point for point in entry_points(group=GROUP)}
    for package in _packages(value):
        if package in points:
            require_reference_of(points[package].value, f"An application of {package}")
            wrap: Wrap = points[package].load()
            return wrap
    raise UsageError(
        f"app() does not know what runs a {type(value).__name__}. "
        f"Pass the pool or application of {', '.join(sorted(points))}, or write a target (docs/tutorial.md)."
    )


def _packages(value: object) -> Iterator[str]:
    """The packages of the classes of an object, or of the first in a list, and the system whose settings it is."""
    yield from filter(None, [system_of(value)])
    if isinstance(value, list | tuple) and value:
        value = value[0]
    function = inspect.unwrap(value) if callable(value) else None
    if isinstance(function, FunctionType):
        yield from _named_packages(function)
    yield from (kind.__module__.partition(".")[0] for kind in type(value).__mro__)


def _named_packages(function: FunctionType) -> Iterator[str]:
    """The packages that a function names which makes what runs an application: what it imports, and its globals."""
    for name in function.__code__.co_names:
        found = function.__globals__.get(name)
        if isinstance(found, ModuleType):
            yield found.__name__.partition(".")[0]
        elif isinstance(found, type):
            yield found.__module__.partition(".")[0]
        elif found is None:
            yield name.partition(".")[0]
