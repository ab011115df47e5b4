"""An adapter as a target: pools and a client as processes, in an environment of their own, in any language.

docs/reference/protocol.md describes how to write one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness.kit
from harness.environments.base import Endpoints
from harness.environments.urls import plain_url
from harness.errors import AdapterMistake, TargetFailed, UsageError
from harness.history import Operation, OperationType
from harness.history.promises import Promises
from harness.history.statuses import LEGAL
from harness.kit.harness_worker.environment import service_variable
from harness.targets.adapter_client import PROTOCOL, AdapterClient
from harness.targets.adapter_environment import AdapterEnvironment, Say
from harness.targets.adapter_file import FILE_NAME, AdapterFile, read_adapter
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.subprocess_pool import SubprocessPool

SHIPPED = Path(__file__).parent / "shipped"

_KIT = Path(harness.kit.__file__).parent
_EVIDENCE_SECONDS = 60.0
# The evidence source of each kind of operation, if the client does not name one.
_SOURCES = {"record": "postgres", "transition": "postgres", "queue": "redis"}


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
    """The system under test that an adapter.toml describes."""

    def __init__(self, file: AdapterFile) -> None:
        self.file = file
        self.environment = AdapterEnvironment(file)
        self._reported_version: str | None = None

    @property
    def name(self) -> str:
        return self.file.full_name

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

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> AdapterSession:
        self.environment.create(_quiet)
        session = AdapterSession(self.file, self.environment, endpoints, settings)
        try:
            self._reported_version = session.prepare()
        except BaseException:
            session.kill()
            raise
        return session


class AdapterSession:
    """An adapter on given servers: its client runs until `close`."""

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
        self._client = AdapterClient(
            file.full_name,
            self._command(file.client),
            environment=self._variables,
            folder=settings.folder,
            log=settings.history / "client.log",
        )

    def prepare(self) -> str | None:
        """Greet the client, let it prepare the servers, and return the version that it reported."""
        match self._client.call("hello"):
            case {"protocol": int(number), **rest} if number == PROTOCOL:
                version = rest.get("version")
            case answer:
                raise self._nonsense("hello", answer, f'{{"protocol": {PROTOCOL}, "version": "..."}}')
        self._client.call("prepare")
        return None if version is None else str(version)

    def start_pool(self) -> SubprocessPool:
        self._pools += 1
        return SubprocessPool.start(
            self._command(self._file.pool),
            environment=self._variables,
            settings=self._settings,
            name=f"pool-{self._pools}",
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks in order; raises `TargetFailed` if the client fails, not if the system refuses a task."""
        fields = ("number", "work", "gate", "lock", "priority")
        values = [{name: getattr(task, name) for name in fields} for task in tasks]
        found = self._client.call("submit", tasks=values)
        outcomes = [_submission(one) for one in found] if isinstance(found, list) else []
        if [one and one.number for one in outcomes] != [task.number for task in tasks]:
            wanted = 'for each task {"number": 1, "activity": "..."} or {"number": 1, "error": "..."}'
            raise self._nonsense("submit", found, wanted)
        return [one for one in outcomes if one is not None]

    def unfinished(self) -> int:
        found = self._client.call("unfinished")
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self._nonsense("unfinished", found, "a number from 0 on")
        return found

    def witnesses(self) -> Iterator[Operation]:
        for found in self._client.operations("evidence", _EVIDENCE_SECONDS):
            yield self._operation(found)

    def close(self) -> None:
        self._client.close()

    def kill(self) -> None:
        """End the client after a failure, without another error."""
        try:
            self._client.close()
        except TargetFailed:
            return

    def _operation(self, found: Any) -> Operation:
        match found:
            case {"f": str(f), "value": dict(value), **rest} if f in _SOURCES:
                process = str(rest.get("process", _SOURCES[f]))
            case _:
                raise self._nonsense(
                    "evidence", found, '{"f": "record", "transition" or "queue", "value": {...}}'
                )
        if f != "queue" and not (isinstance(value.get("task"), int) and value.get("status") in LEGAL):
            raise self._nonsense(
                "evidence", found, f"a task number and one of the statuses {', '.join(LEGAL)}"
            )
        return Operation(time=time.monotonic_ns(), process=process, type=OperationType.INFO, f=f, value=value)

    def _command(self, words: Sequence[str]) -> list[str]:
        return [
            word.replace("{python}", self._python).replace("{folder}", str(self._file.folder))
            for word in words
        ]

    def _nonsense(self, call: str, found: object, wanted: str) -> AdapterMistake:
        shown = repr(found)[:200]
        return AdapterMistake(
            f"{AdapterMistake.PREFIX} the client of the adapter {self._file.full_name} answered {call} with {shown}. "
            f"It has to be {wanted}."
        )


def _submission(found: object) -> Submission | None:
    match found:
        case {"number": int(number), "activity": str(activity)}:
            return Submission(number=number, activity=activity)
        case {"number": int(number), "error": str(error), **rest}:
            return Submission(number=number, error=error, certain=rest.get("certain") is True)
    return None


def _variables(
    file: AdapterFile, environment: AdapterEnvironment, endpoints: Endpoints, settings: TargetSettings
) -> dict[str, str]:
    """The environment variables of the pool and of the client."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    if session := os.environ.get("HARNESS_SESSION"):
        # Marks the processes as the session's, so that they end with the runner.
        kept["HARNESS_SESSION"] = session
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
    known = {"postgres": plain_url(endpoints.database_url), "redis": endpoints.redis_url}
    for service in file.needs:
        if service not in known:
            raise UsageError(
                f"The adapter {file.name} needs the service {service!r}, and the environment has {', '.join(known)}. "
                "Correct `needs` in adapter.toml, or choose an environment that has it."
            )
    return {service_variable(service): known[service] for service in file.needs}


def _quiet(text: str) -> None:
    del text
