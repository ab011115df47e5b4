"""Everything one scenario needs while it runs, opened together and closed together: gates, session, pools, records."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.environments.base import Environment
from harness.faults.base import FaultContext
from harness.gate import GateKeeper
from harness.history import Recorder
from harness.scenario import PoolNeeds
from harness.targets.base import Target, TargetSession, TargetSettings
from harness.targets.pools import Pools


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """The open things of one run; `client`, `nemesis` and `witness` each write a history file of their own."""

    world: FaultContext
    session: TargetSession
    client: Recorder
    nemesis: Recorder
    witness: Recorder
    history: Path

    @property
    def pools(self) -> Pools:
        """The pools of the run."""
        return self.world.pools

    @property
    def gates(self) -> GateKeeper:
        """The gates of the run."""
        return self.world.gates

    def recorded(self) -> int:
        """Bytes of history so far, by everybody; it grows as long as anything happens."""
        return sum(file.stat().st_size for file in self.history.glob("*.jsonl"))


@contextmanager
def open_context(
    environment: Environment, target: Target, needs: PoolNeeds, *, queue: str, history: Path
) -> Iterator[RunContext]:
    """Open everything; on the way out SIGKILL what still runs, and close. Raises what the target raises."""
    folder = environment.folder / queue
    folder.mkdir(mode=0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        gates = stack.enter_context(GateKeeper(folder / "gate"))
        settings = TargetSettings(
            queue=queue,
            folder=folder,
            history=history,
            gate_address=gates.address,
            workers=needs.workers,
            concurrency=needs.concurrency,
            lease=needs.lease,
            graceful_shutdown=needs.graceful_shutdown,
        )

        def recorder(name: str) -> Recorder:
            return stack.enter_context(closing(Recorder(history / f"{name}.jsonl", process=name)))

        client, nemesis, witness, exits = (
            recorder(name) for name in ("client", "nemesis", "witness", "pools")
        )
        session = stack.enter_context(closing(target.open(environment.endpoints, settings)))
        pools = Pools(session, exits)
        stack.callback(pools.kill)
        world = FaultContext(gates=gates, pools=pools, environment=environment)
        yield RunContext(
            world=world, session=session, client=client, nemesis=nemesis, witness=witness, history=history
        )
