"""Which activity store the simulated processes use: SQLite on the virtual clock, or what `use_store` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, Engine

from harness.simulation.call_faults import Network
from harness.simulation.postgres_server import PostgresServer
from harness.simulation.recording import SimulatedRecorder
from harness.simulation.runtime import VirtualRuntime
from harness.simulation.scheduler import Process
from harness.simulation.store_probes import StoreProbes


class Store(Protocol):
    """The database server of one simulation."""

    @property
    def longest_wait(self) -> float:
        """The seconds for which a process that is gone may keep others waiting."""

    def open(self) -> AbstractContextManager[None]:
        """Serve the simulation, which begins with empty tables."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction of the harness at one moment of virtual time, without network and faults."""

    def engine_of(self, recorder: SimulatedRecorder, process: Process, network: Network) -> Engine:
        """The engine of one process."""

    def go_away(self, seconds: float) -> None:
        """Answer nothing for this time."""


StoreMaker = Callable[[VirtualRuntime, StoreProbes], Store]

_makers: list[StoreMaker] = [PostgresServer]


def new_store(runtime: VirtualRuntime, probes: StoreProbes) -> Store:
    """The store of a new simulation."""
    return _makers[-1](runtime, probes)


@contextmanager
def use_store(maker: StoreMaker) -> Iterator[None]:
    """Let each simulation in a `with` block make its store so."""
    _makers.append(maker)
    try:
        yield
    finally:
        _makers.pop()
