"""An adapter as a target: pools and a client as processes, in an environment of their own, in any language.

docs/reference/protocol.md describes how to write one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import harness.kit
from harness.environments import reaper
from harness.environments.base import Endpoints, Topology
from harness.environments.urls import plain_url
from harness.errors import AdapterMistake, TargetFailed, UsageError
from harness.history import Operation
from harness.history.promises import Promises
from harness.kit.harness_worker.environment import service_variable
from harness.masking import masked
from harness.targets.adapter_answers import WrongAnswer, count, evidence, submissions, version_of
from harness.targets.adapter_client import AdapterClient
from harness.targets.adapter_environment import AdapterEnvironment, Say
from harness.targets.adapter_file import FILE_NAME, PLACEHOLDER, AdapterFile, read_adapter
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.subprocess_pool import SubprocessPool

SHIPPED = Path(__file__).parent / "shipped"

_KIT = Path(harness.kit.__file__).parent
_EVIDENCE_SECONDS = 60.0
# Other systems import more than agentexec does.
_POOL_START_SECONDS = 60.0
_SHOWN = 200

AnswerT = TypeVar("AnswerT")


def shipped() -> list[str]:
    """The names of the adapters that the harness ships, in alphabetical order."""
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{FILE_NAME}"))


def names_adapter(name: str) -> bool:
    """Whether the name of a target is a path, or the name of a shipped adapter, with or without `@PROFILE`."""
    place = name.partition("@")[0]
    return "/" in place or place.endswith(".toml") or place in shipped() or (Path(place) / FILE_NAME).exists()


def adapter(name: str) -> AdapterTarget:
    """The adapter at a path or of a shipped name, with `@PROFILE` if one is chosen; raises `UsageError`."""
    place, _, profile = name.partition("@")
    return AdapterTarget(read_adapter(SHIPPED / place if place in shipped() else Path(place), profile))


class AdapterTarget:
    """The system under test that an adapter.toml describes; its tasks have numbers and no names."""

    task_names: ClassVar[tuple[str, ...]] = ()
    why_no_producer: ClassVar[str] = "the client of an adapter alone knows which tasks it has submitted"

    def __init__(self, file: AdapterFile) -> None:
        self.file = file
        self.environment = AdapterEnvironment(file)
        self._reported_version: str | None = None

    @property
    def name(self) -> str:
        return self.file.full_name

    @property
    def needs(self) -> Sequence[str]:
        """The services that the environment must have, by name."""
        return self.file.needs

    @property
    def topologies(self) -> Sequence[Topology]:
        """The servers besides single ones that it connects to."""
        return self.file.topologies

    @property
    def actions(self) -> Sequence[str]:
        """What its handlers can do at a gate when a fault asks for it."""
        return self.file.actions

    @property
    def settings(self) -> Mapping[str, str]:
        """What differs from the defaults of the system, as text."""
        return self.file.settings

    def version(self) -> str:
        """The version of the installed distribution, or the one that the client reported."""
        return self.environment.version() or self._reported_version or "unknown"

    def install(self, say: Say) -> None:
        """Create the environment of the adapter if it is missing; raises `TargetFailed`."""
        self.environment.create(say)

    def promises(self, settings: TargetSettings) -> Promises:
        """What `[promises]` of adapter.toml says."""
        del settings
        return self.file.promises

    def attach(self, endpoints: Endpoints, settings: TargetSettings) -> AdapterSession:
        """A session that starts pools beside the one that has prepared the servers; its client is asked nothing."""
        self.environment.create(_quiet)
        return AdapterSession(self.file, self.environment, endpoints, settings)

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> AdapterSession:
        session = self.attach(endpoints, settings)
        try:
            self._reported_version = session.prepare()
        except BaseException:
            session.kill()
            raise
        return session


class AdapterSession:
    """An adapter on given servers: its `client` submits the tasks, and runs until `close`."""

    def __init__(
        self,
        file: AdapterFile,
        environment: AdapterEnvironment,
        endpoints: Endpoints,
        settings: TargetSettings,
    ) -> None:
        self._file = file
        self._python = environment.python
        self._settings = settings
        self._pools = 0
        self._variables = _variables(file, environment, endpoints, settings)
        self.client = AdapterClient(
            file.full_name,
            self._command(file.client),
            environment=self._variables,
            folder=settings.folder,
            log=settings.history / "client.log",
        )

    def prepare(self) -> str | None:
        """Greet the client, let it prepare the servers, and return the version that it reported."""
        version = self._checked("hello", version_of, self.client.call("hello"))
        self.client.call("prepare")
        return version

    def start_pool(self) -> SubprocessPool:
        self._pools += 1
        return SubprocessPool.start(
            self._command(self._file.pool),
            environment=self._variables,
            settings=self._settings,
            name=f"pool-{self._pools}",
            within=_POOL_START_SECONDS,
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks in order; raises `TargetFailed` if the client fails, not if the system refuses a task."""
        fields = ("number", "work", "gate", "lock", "priority")
        values = [{name: getattr(task, name) for name in fields} for task in tasks]
        found = self.client.call("submit", tasks=values)
        return self._checked("submit", lambda answer: submissions(answer, tasks), found)

    def unfinished(self) -> int:
        return self._checked("unfinished", count, self.client.call("unfinished"))

    def witnesses(self) -> Iterator[Operation]:
        for found in self.client.operations("evidence", _EVIDENCE_SECONDS):
            yield self._checked("evidence", evidence, found)

    def close(self) -> None:
        self.client.close()

    def kill(self) -> None:
        """End the client after a failure, without another error."""
        try:
            self.client.close()
        except TargetFailed:
            return

    def _command(self, words: Sequence[str]) -> list[str]:
        values = {
            "python": self._python,
            "folder": str(self._file.folder),
            "queue": self._settings.queue,
            "workers": str(self._settings.workers),
            "concurrency": self._variables["HARNESS_CONCURRENCY"],
            "lease": f"{self._settings.lease:g}",
            "graceful": f"{self._settings.graceful_shutdown:g}",
            "profile": self._file.profile,
        }
        return [PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in words]

    def _checked(self, call: str, read: Callable[[Any], AnswerT], answer: object) -> AnswerT:
        try:
            return read(answer)
        except WrongAnswer as wanted:
            shown = masked(repr(answer)[:_SHOWN])
            raise AdapterMistake(
                f"{AdapterMistake.PREFIX} the client of the adapter {self._file.full_name} answered {call} "
                f"with {shown}. It has to be {wanted}."
            ) from None


def _variables(
    file: AdapterFile, environment: AdapterEnvironment, endpoints: Endpoints, settings: TargetSettings
) -> dict[str, str]:
    """The environment variables of the pool and of the client."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    if session := os.environ.get(reaper.VARIABLE):
        # Marks the processes as the session's, so that they end with the runner.
        kept[reaper.VARIABLE] = session
    path = [str(_KIT), str(file.folder)]
    if environment.is_own:
        # The modules of the harness's environment must not hide those of the adapter's.
        kept.pop("PYTHONHOME", None)
    else:
        path += [kept["PYTHONPATH"]] if kept.get("PYTHONPATH") else []
    return {
        **kept,
        **worker_environment(settings.history, settings.gate_address),
        **_urls(file, endpoints),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HARNESS_QUEUE": settings.queue,
        "HARNESS_WORKERS": str(settings.workers),
        "HARNESS_CONCURRENCY": str(file.promises.slots_per_worker or settings.concurrency),
        "HARNESS_LEASE": str(settings.lease),
        "HARNESS_GRACEFUL": str(settings.graceful_shutdown),
        "HARNESS_PROFILE": file.profile,
    }


def _urls(file: AdapterFile, endpoints: Endpoints) -> Mapping[str, str]:
    for service in file.needs:
        if not endpoints.url(service):
            raise UsageError(
                f"The adapter {file.name} needs the service {service!r}, and the environment has "
                f"{', '.join(endpoints.services)}. Correct `needs` in adapter.toml, or choose another environment."
            )
    return {service_variable(service): plain_url(endpoints.url(service)) for service in file.needs}


def _quiet(text: str) -> None:
    del text
