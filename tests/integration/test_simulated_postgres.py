"""The simulation on a real Postgres: it repeats byte for byte, and two transactions at once meet each other's locks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from agentexec.core import runtime
from agentexec.core.postgres import sqlstate_of
from agentexec.store.dialects import run
from harness.cli import main
from harness.environments.embedded import EmbeddedEnvironment
from harness.history.figures import NANOSECONDS
from harness.simulation import simulate
from harness.simulation.call_faults import CallFault, CallFaults, Network, PendingFault
from harness.simulation.postgres.database import RealDatabase, database
from harness.simulation.postgres.driven import on_postgres
from harness.simulation.postgres.server import DrivenPostgres
from harness.simulation.postgres_server import PostgresServer
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import EPOCH, VirtualRuntime
from harness.simulation.scheduler import Process, Scheduler
from harness.simulation.store_probes import StoreProbes
from harness.simulation.stores import use_store
from tests.planted.defects.postgres import OF_POSTGRES

SEEDS = range(7)
TWICE = range(3)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def own(servers: EmbeddedEnvironment) -> Iterator[RealDatabase]:
    with database(servers.endpoints.database_url, "simulation_by_hand") as made:
        made._own.execute("CREATE TABLE pair (name text PRIMARY KEY, n int, at timestamptz DEFAULT now())")
        yield made


class Several:
    """Processes `a`, `b` and `c` on one Postgres, each with an engine; what they see is in `said`."""

    def __init__(self, own: RealDatabase) -> None:
        own._own.execute("DELETE FROM pair")
        own._own.execute("INSERT INTO pair (name, n) VALUES ('x', 0), ('y', 0)")
        self.scheduler = Scheduler(7)
        self.runtime = VirtualRuntime(self.scheduler)
        self.server = DrivenPostgres(own, self.runtime, StoreProbes(set(), set()))
        self.faults = CallFaults()
        self.recorder = SimulatedRecorder(self.scheduler)
        self.processes = {name: self.runtime.new_process(name) for name in NAMES}
        self.engines = {name: self._engine(process) for name, process in self.processes.items()}
        self.said: list[str] = []

    def _engine(self, process: Process) -> Engine:
        return self.server.engine_of(self.recorder, process, Network(self.runtime, process, self.faults))

    def at(self, second: float, name: str, work: Callable[[], object]) -> None:
        """Let a process begin some work."""
        process = self.processes[name]
        start = lambda: self.scheduler.spawn(process, work)  # noqa: E731 - bound to this call
        self.scheduler.at(round(second * NANOSECONDS), process, start)

    def adding(self, name: str, *rows: str, hold: float = 0.0) -> Callable[[], None]:
        """Add 1 to some rows in one transaction, which stays open for some seconds after each."""

        def work() -> None:
            try:
                with self.engines[name].begin() as connection:
                    for row in rows:
                        add(connection, row)
                        self.runtime.sleep(hold)
                self.say(name)
            except DBAPIError as error:
                self.say(f"{name} {sqlstate_of(error) or 'no answer'}")

        return work

    def say(self, what: str) -> None:
        """Note it with the virtual second."""
        self.said.append(f"{what} at {self.runtime.monotonic():.1f}")

    def run(self, until: float = 100.0) -> list[str]:
        """Run up to a virtual second."""
        self.scheduler.run(round(until * NANOSECONDS))
        if self.scheduler.escaped:
            raise self.scheduler.escaped[0][1]
        return self.said

    def values(self) -> dict[str, int]:
        """The rows."""
        with self.server.transaction() as connection:
            return {row.name: row.n for row in run(connection, "SELECT name, n FROM pair")}


def add(connection: Connection, row: str) -> None:
    run(connection, "UPDATE pair SET n = n + 1, at = clock_timestamp() WHERE name = :row", row=row)


@pytest.fixture
def several(own: RealDatabase) -> Iterator[Several]:
    several = Several(own)
    with runtime.use(several.runtime), several.server.open():
        yield several
        several.scheduler.unwind_all(several.runtime.processes)


def test_a_statement_waits_for_the_transaction_that_has_its_row_and_no_longer(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", hold=3))
    several.at(2, "b", several.adding("b", "x"))
    several.at(2, "c", several.adding("c", "y"))
    assert several.run() == ["c at 2.0", "a at 4.0", "b at 4.0"]
    assert several.values() == {"x": 2, "y": 1}


def test_two_that_wait_for_one_transaction_go_on_one_after_the_other(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", hold=3))
    several.at(2, "b", several.adding("b", "x", hold=2))
    several.at(3, "c", several.adding("c", "x"))
    assert several.run() == ["a at 4.0", "b at 6.0", "c at 6.0"]
    assert several.values() == {"x": 3, "y": 0}


def test_the_statement_that_closes_a_circle_of_locks_fails(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", "y", hold=2))
    several.at(2, "b", several.adding("b", "y", "x", hold=2))
    assert several.run() == ["b 40P01 at 4.0", "a at 6.0"]
    assert several.values() == {"x": 1, "y": 1}


def test_a_client_gives_up_after_ten_seconds(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", "y", hold=6))
    several.at(2, "b", several.adding("b", "x"))
    assert several.run() == ["b no answer at 12.0", "a at 13.0"]
    assert several.values() == {"x": 1, "y": 1}


def test_a_host_that_is_gone_in_a_transaction_keeps_no_lock(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", hold=3))
    several.scheduler.at(2 * NANOSECONDS, None, lambda: several.scheduler.freeze([several.processes["a"]]))
    several.at(5, "b", several.adding("b", "x"))
    assert several.run() == ["b at 11.0"]
    assert several.values() == {"x": 1, "y": 0}


def test_the_death_of_a_process_ends_its_transaction(several: Several) -> None:
    several.at(1, "a", several.adding("a", "x", hold=3))
    several.at(2, "b", several.adding("b", "x"))
    several.scheduler.at(3 * NANOSECONDS, None, lambda: several.scheduler.kill(several.processes["a"], -9))
    assert several.run() == ["b at 3.0"]
    assert several.values() == {"x": 1, "y": 0}


def test_the_server_finishes_the_statement_of_a_process_that_died_waiting_for_a_lock(
    several: Several,
) -> None:
    def alone() -> None:
        with several.engines["b"].execution_options(isolation_level="AUTOCOMMIT").begin() as connection:
            add(connection, "x")

    several.at(1, "a", several.adding("a", "x", hold=3))
    several.at(2, "b", alone)
    several.scheduler.at(3 * NANOSECONDS, None, lambda: several.scheduler.kill(several.processes["b"], -9))
    assert several.run() == ["a at 4.0"]
    assert several.values() == {"x": 2, "y": 0}


# The calls of a transaction are its statement and its commit.
@pytest.mark.parametrize(
    ("kind", "after", "skip", "said", "added"),
    [
        (CallFault.LOSE_REQUEST, False, 0, ["a no answer at 1.0"], 0),
        (CallFault.LOSE_REPLY, True, 0, ["a no answer at 1.0"], 0),
        (CallFault.LOSE_REQUEST, False, 1, ["a no answer at 1.0"], 0),
        (CallFault.LOSE_REPLY, True, 1, ["a no answer at 1.0"], 1),
        (CallFault.KILL, True, 0, [], 0),
        (CallFault.KILL, False, 1, [], 0),
        (CallFault.KILL, True, 1, [], 1),
    ],
)
def test_each_call_of_a_transaction_may_be_lost(
    several: Several, kind: CallFault, after: bool, skip: int, said: list[str], added: int
) -> None:
    fault = PendingFault(kind=kind, after=after, skip=skip, seconds=0.0, strike=lambda: None)
    several.faults.add(several.processes["a"], fault)
    several.at(1, "a", several.adding("a", "x"))
    assert several.run(1.5) == said
    assert several.values()["x"] == added
    several.at(2, "b", several.adding("b", "x"))
    assert several.run()[len(said) :] == ["b at 2.0"], "the lock is free"


def test_the_time_of_a_statement_is_virtual_also_in_defaults_and_after_a_wait(several: Several) -> None:
    def insert() -> None:
        with several.engines["c"].begin() as connection:
            run(connection, "INSERT INTO pair (name, n) VALUES (:name, 0)", name="z")

    several.at(1, "a", several.adding("a", "x", hold=3))
    several.at(2, "b", several.adding("b", "x"))
    several.at(6, "c", several.adding("c", "y"))
    several.at(7, "c", insert)
    several.run()
    with several.server.transaction() as connection:
        rows = run(connection, "SELECT name, at FROM pair ORDER BY name")
    assert [(row.name, round(row.at.timestamp() - EPOCH)) for row in rows] == [("x", 4), ("y", 6), ("z", 7)]
    assert rows[0].at.astimezone(UTC) > datetime.fromtimestamp(EPOCH + 3.9, UTC)


@pytest.fixture(scope="module")
def _on_postgres(servers: EmbeddedEnvironment) -> Iterator[None]:
    with on_postgres(servers.endpoints.database_url):
        yield


@pytest.mark.usefixtures("_on_postgres")
def test_the_true_implementation_has_no_finding_and_a_seed_gives_the_same_history_again() -> None:
    waits = 0
    for seed in SEEDS:
        outcome = simulate(seed, trace=True)
        assert not outcome.findings, f"harness simulate --postgres --seed {seed}"
        waits += sum("waits for a lock" in text for _, _, text in outcome.trace)
        if seed in TWICE:
            again = simulate(seed, trace=True)
            assert (again.history.operations, again.trace) == (outcome.history.operations, outcome.trace)
    assert waits, "some transactions meet"


@pytest.mark.usefixtures("_on_postgres")
def test_a_defect_of_the_postgres_form_is_found_here_and_only_here() -> None:
    with OF_POSTGRES["log-of-refused-rows"].planted():
        assert simulate(1).findings
        with use_store(PostgresServer):
            assert not simulate(1).findings


def test_the_command_runs_its_jobs_on_the_postgres_of_a_url(
    servers: EmbeddedEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    url = servers.endpoints.database_url
    assert main(["simulate", "--postgres", url, "--seeds", "1", "--first", "0", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 simulated run" in out
    assert "simulate --postgres" in out
    assert url not in out, "the repeat line has no password"
