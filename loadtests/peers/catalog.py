"""The peers in peers.toml: their packages, commands and settings, and what each records and loses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError
from harness.targets.adapter_environment import AdapterEnvironment
from harness.targets.adapter_file import AdapterFile

FOLDER = Path(__file__).parent
SYSTEMS = FOLDER / "systems"
OURS = "agentexec"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A queue with one choice of settings.

    `tasks` are drained in one measurement; `pools` is how many times `pool` is started, so that 2 worker processes run;
    `running` is how many tasks run at once for recovery and exit; `in_postgres` is whether it has tasks in Postgres.
    """

    name: str
    title: str
    module: str
    distribution: str
    settings: str
    source: str
    records: str
    loses: str
    loss_source: str
    variant: str = ""
    requirements: tuple[str, ...] = ()
    pool: tuple[str, ...] = ("{python}", "-m", "run_peer", "{module}", "worker")
    pools: int = 1
    tasks: int = 20_000
    running: int = 16
    in_postgres: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> AdapterEnvironment:
        """The environment with its packages, made on demand; without requirements, the one of this process."""
        return AdapterEnvironment(
            AdapterFile(
                name=self.distribution,
                folder=SYSTEMS,
                pool=self.pool,
                client=(),
                distribution=self.distribution,
                requirements=self.requirements,
            )
        )

    def command(self, python: str) -> list[str]:
        """The command of its pool."""
        return [word.format(python=python, module=self.module) for word in self.pool]


def all_peers(path: Path = FOLDER / "peers.toml") -> dict[str, Peer]:
    """The peers of a catalog by name, in its order."""
    tables = tomllib.loads(path.read_text("utf-8"))
    return {name: _peer(name, table) for name, table in tables.items()}


def _peer(name: str, table: Mapping[str, object]) -> Peer:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Peer(name=name, **values)  # type: ignore[arg-type]  # a wrong catalog fails in a test


def chosen(names: Iterable[str], peers: Mapping[str, Peer]) -> list[Peer]:
    """The named peers, all if there are none; a name may be the beginning of several, as in `pgqueuer`."""
    found: dict[str, Peer] = {}
    for name in names:
        matching = {key: peer for key, peer in peers.items() if key == name or key.startswith(f"{name}-")}
        if not matching:
            raise UsageError(f"There is no peer {name!r}. Choose from {', '.join(peers)}.")
        found |= matching
    return list(found.values() or peers.values())
