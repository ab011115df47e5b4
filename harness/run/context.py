"""The context of one run: gates, the target's session, pools and recorders, opened and closed together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.environments.base import Environment, Service
from harness.faults.base import FaultContext
from harness.gate import GateKeeper
from harness.history import OperationType, Recorder
from harness.history.names import PROMISES
from harness.history.unrecorded import reserve
from harness.kit.harness_worker.model import ENDPOINT_FILE
from harness.llm.profile import EndpointProfile
from harness.llm.serving import serving
from harness.run.kept_logs import record_clock
from harness.scenario import PoolNeeds, Scenario
from harness.targets.base import Target, TargetSession, TargetSettings
from harness.targets.guarded import GuardedSession
from harness.targets.pools import Pools
from harness.targets.producers import ProducedSession, ProducerNeeds, why_no_producer
from harness.targets.promised import promised
from harness.wire import Wire


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """The open resources of one run, with recorders that each write a history file of their own.

    `client` records the workload, `nemesis` the faults, `witness` the content of backups and, at the end, that of store
    and queue, and `runner` the phases of the run.
    """

    faults: FaultContext
    session: TargetSession
    client: Recorder
    nemesis: Recorder
    witness: Recorder
    runner: Recorder
    history: Path

    @property
    def pools(self) -> Pools:
        """The pools of the run."""
        return self.faults.pools

    @property
    def gates(self) -> GateKeeper:
        """The gates of the run."""
        return self.faults.gates

    def movement(self) -> object:
        """What the target shows of its progress besides the number of unfinished tasks; None if it shows no more."""
        moved = getattr(self.session, "movement", None)
        return None if moved is None else moved()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunExtras:
    """What a scenario asks for besides its pools.

    The target reaches the servers in `proxied` through a proxy. `producers` submit the tasks, if they can find the
    target. The handlers call an LLM endpoint of the profile `endpoint`.
    """

    proxied: Sequence[Service] = ()
    producers: ProducerNeeds = field(default_factory=ProducerNeeds)
    endpoint: EndpointProfile | None = None

    @classmethod
    def of(cls, scenario: Scenario, target_name: str | None) -> Self:
        """What a scenario asks for; other processes find the target by its name, if they can."""
        producers = ProducerNeeds(number=scenario.producers, target=target_name)
        return cls(proxied=scenario.proxied, producers=producers, endpoint=scenario.endpoint)


@contextmanager
def open_context(
    environment: Environment,
    target: Target,
    needs: PoolNeeds,
    *,
    queue: str,
    history: Path,
    runner: Recorder,
    extras: RunExtras | None = None,
) -> Iterator[RunContext]:
    """Open the resources of a run; SIGKILL its remaining pools and close everything on exit.

    Raises what the target raises.
    """
    asked = extras or RunExtras()
    folder = environment.folder / queue
    folder.mkdir(mode=0o755)
    reserve(history)
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
            versions=needs.versions,
            disposable=environment.name != "external",
        )

        def recorder(name: str) -> Recorder:
            return stack.enter_context(closing(Recorder(history / f"{name}.jsonl", process=name)))

        promises = promised(target, settings)
        record_clock(runner)
        runner.record(OperationType.INFO, PROMISES, **promises.to_value())
        client, nemesis, witness, exits = (
            recorder(name) for name in ("client", "nemesis", "witness", "pools")
        )
        proxies: dict[str, Wire] = {
            service: stack.enter_context(closing(Wire(environment.endpoints.url(service))))
            for service in asked.proxied
        }
        endpoints = environment.endpoints.replace({name: proxy.url for name, proxy in proxies.items()})
        served = None if asked.endpoint is None else stack.enter_context(serving(asked.endpoint))
        if served is not None:
            (folder / ENDPOINT_FILE).write_text(f"{served.base_url}\n{served.api_key}\n", "utf-8")
        opened, produced = target.open(endpoints, settings), None
        if asked.producers.number and asked.producers.target and why_no_producer(target) is None:
            opened = ProducedSession.of(opened, asked.producers, endpoints, settings)
            produced = opened.producers
        session = stack.enter_context(closing(GuardedSession(opened)))
        pools = Pools(session, exits)
        stack.callback(pools.kill)
        faults = FaultContext(
            gates=gates,
            pools=pools,
            environment=environment,
            promises=promises,
            proxies=proxies,
            producers=produced,
            endpoint=served,
            session=session,
            witness=witness,
        )
        yield RunContext(
            faults=faults,
            session=session,
            client=client,
            nemesis=nemesis,
            witness=witness,
            runner=runner,
            history=history,
        )
