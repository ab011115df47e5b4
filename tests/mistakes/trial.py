"""One run of the harness on an installation with a mistake, or on the same one without it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import agentexec as ax
from harness.checkers.base import Verdict
from harness.environments.base import Endpoints, Environment
from harness.faults.postgres_states import postgres_of
from harness.faults.redis_memory import redis_of
from harness.history.promises import Promises
from harness.progress import Quiet
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import Scenario, ScenarioRun
from harness.targets.agentexec_target import AgentexecSession
from harness.targets.base import TargetSettings, TaskFeature
from harness.targets.promised import everything

SEED = 7
FIRST = ("delivery", "once", "shutdown")
ROLE = "mistaken_app"
_PASSWORD = "of-the-pools"

Changed = Callable[[Endpoints], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """`changed` holds a change of the servers from the creation of the tables to the end of the run.

    `pools` are variables of the pools; None removes one. With `by_role`, the pools have a role of their own (`ROLE`).
    """

    scenario: Scenario
    tasks: int = 40
    changed: Changed | None = None
    pools: Mapping[str, str | None] = field(default_factory=dict)
    by_role: bool = False


class MistakenSession(AgentexecSession):
    """The reference target with the change of a trial."""

    def __init__(self, endpoints: Endpoints, settings: TargetSettings, trial: Trial) -> None:
        super().__init__(endpoints, settings)
        self._trial = trial
        self._changes = ExitStack()

    def prepare(self) -> None:
        super().prepare()
        if self._trial.by_role:
            self._changes.enter_context(_role(self._endpoints))
        if self._trial.changed is not None:
            self._changes.enter_context(self._trial.changed(self._endpoints))

    def environment(self) -> dict[str, str]:
        found: dict[str, str | None] = {**super().environment(), **self._trial.pools}
        if self._trial.by_role:
            parts = urlsplit(self._endpoints.database_url)
            place = f"{ROLE}:{_PASSWORD}@{parts.netloc.rpartition('@')[2]}"
            found["DATABASE_URL"] = parts._replace(netloc=place).geturl()
        return {name: value for name, value in found.items() if value is not None}

    def close(self) -> None:
        try:
            self._changes.close()
        finally:
            super().close()


@dataclass(frozen=True, kw_only=True, slots=True)
class MistakenTarget:
    """agentexec in an installation with the change of a trial."""

    trial: Trial
    name: str = "agentexec"
    features: tuple[TaskFeature, ...] = tuple(TaskFeature)

    def version(self) -> str:
        return ax.__version__

    def promises(self, settings: TargetSettings) -> Promises:
        return everything(settings)

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> MistakenSession:
        session = MistakenSession(endpoints, settings, self.trial)
        session.prepare()
        return session


def run_trial(trial: Trial, environment: Environment) -> ScenarioRun:
    """The run, with the verdict of a user's run."""
    with tempfile.TemporaryDirectory() as history:
        return run_scenario(
            trial.scenario,
            environment,
            MistakenTarget(trial=trial),
            RunOptions(seed=SEED, tasks=trial.tasks, queue=f"mistake-{time.monotonic_ns()}"),
            history_folder=Path(history),
            progress=Quiet(),
        )


def shown(run: ScenarioRun) -> str:
    """The verdict with the breached checker that says most, or with the reason why nothing is certain."""
    names = [
        *(name for name in FIRST if name in run.results),
        *(name for name in run.results if name not in FIRST),
    ]
    for name in names:
        if run.results[name].verdict is run.verdict is not Verdict.VALID:
            return f"{run.verdict}: {name}: {run.results[name].summary}"
    return f"{run.verdict}: {run.error}" if run.error else str(run.verdict)


def in_postgres(name: str, value: str) -> Changed:
    """A setting of the server, which new sessions have."""
    reload = "SELECT pg_reload_conf()"
    return by_statements(
        [f"ALTER SYSTEM SET {name} = {value}", reload], [f"ALTER SYSTEM RESET {name}", reload]
    )


def by_statements(make: Sequence[str], undo: Sequence[str]) -> Changed:
    """Statements of an operator."""

    @contextmanager
    def changed(endpoints: Endpoints) -> Iterator[None]:
        with postgres_of(endpoints) as postgres:
            for statement in make:
                postgres.execute(statement.encode())
        try:
            yield
        finally:
            with postgres_of(endpoints) as postgres:
                for statement in undo:
                    postgres.execute(statement.encode())

    return changed


def in_redis(make: Sequence[Sequence[str]], undo: Sequence[Sequence[str]]) -> Changed:
    """Commands of an operator to Redis."""

    @contextmanager
    def changed(endpoints: Endpoints) -> Iterator[None]:
        with redis_of(endpoints) as redis:
            redis.calls(make)
        try:
            yield
        finally:
            with redis_of(endpoints) as redis:
                redis.calls(undo)

    return changed


@contextmanager
def _role(endpoints: Endpoints) -> Iterator[None]:
    """A role with the rights of an application."""
    make = (
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{_PASSWORD}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}",
    )
    undo = (f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")
    with by_statements(make, undo)(endpoints):
        yield
