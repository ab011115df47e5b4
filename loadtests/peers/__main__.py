"""`python -m loadtests.peers`: measures the peers in turn, prints a table, and writes JSON and a part of a page."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.command_line import Parser, exit_code_of, filled_path, positive
from harness.environments import make_environment
from harness.environments.base import Environment
from harness.environments.deadlocks import DeadlockWatch
from harness.errors import EXIT_INVALID, EXIT_VALID, HarnessError, UsageError, first_line
from harness.masking import masked
from harness.report import locked_folder
from loadtests.peers.catalog import Peer, all_peers, chosen
from loadtests.peers.measure import PeerMeasurement
from loadtests.peers.plot import picture
from loadtests.peers.result import PeerResult, document
from loadtests.peers.tables import replaced, tables

# After these seconds a recovery is given up.
_RECOVERY_SECONDS, _QUICK_RECOVERY_SECONDS = 8.0, 4.0
_JSON, _TABLES, _PLOT = "peers.json", "peers.md", "peers.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen peers; returns the exit code, 1 after a deadlock or a round without figures."""
    return exit_code_of("peers", lambda: _in_folder(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(prog="python -m loadtests.peers", description="Measure agentexec beside other queues.")
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME", help="all by default")
    parser.add_argument(
        "--rounds", type=positive, default=3, help="counted rounds, each with all peers in turn"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, for a first look")
    parser.add_argument(
        "--report", type=filled_path, default=Path("reports/peers"), help="folder for the JSON"
    )
    parser.add_argument("--document", type=filled_path, help="page that gets the tables between its markers")
    return parser.parse_args(arguments)


def _in_folder(options: Namespace) -> int:
    peers = chosen(options.peers, all_peers())
    if options.document is not None:
        _require_page(options.document)
    with locked_folder(options.report) as folder:
        return _run(peers, options, folder)


def _require_page(path: Path) -> None:
    """Raise `UsageError` if the page cannot take the tables, before anything is measured."""
    try:
        replaced(path.read_text("utf-8"), "")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The page {path} cannot take the tables ({first_line(error)}). Name another --document."
        ) from None


def _run(peers: Sequence[Peer], options: Namespace, folder: Path) -> int:
    for peer in peers:
        peer.environment.create(_say)
    with make_environment("embedded") as environment:
        rounds = _Rounds(environment=environment, peers=peers, quick=options.quick)
        rounds.measure(options.rounds)
        versions = environment.versions
        run = {
            "servers": {"postgres": versions.postgres, "redis": versions.redis},
            "rounds": options.rounds,
            "quick": options.quick,
            "recovery_seconds": rounds.recovery_seconds,
            "deadlocks": rounds.deadlocks,
        }
    found = document(rounds.results, run)
    (folder / _JSON).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    text = tables(found, plot=_PLOT)
    (folder / _TABLES).write_text(text + "\n", "utf-8")
    (folder / _PLOT).write_text(picture(found), "utf-8")
    print(text)
    if options.document is not None:
        page = options.document.read_text("utf-8")
        options.document.write_text(replaced(page, text), "utf-8")
        options.document.with_name(_PLOT).write_text(picture(found), "utf-8")
    print(f"\nfigures: {folder / _JSON}")
    return EXIT_INVALID if any(result.errors for result in rounds.results) else EXIT_VALID


@dataclass(kw_only=True)
class _Rounds:
    """The rounds on one environment; what fails is an error of its peer, and the others go on."""

    environment: Environment
    peers: Sequence[Peer]
    quick: bool
    deadlocks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.results = [PeerResult(peer=peer, version=peer.environment.version()) for peer in self.peers]

    @property
    def recovery_seconds(self) -> float:
        """How long a recovery may take."""
        return _QUICK_RECOVERY_SECONDS if self.quick else _RECOVERY_SECONDS

    def measure(self, rounds: int) -> None:
        """Measure all peers in turn, so many times."""
        if not self.quick:
            _say("warming up")
            self._measurement(self.results[0], quick=True).run()
        for turn in range(1, rounds + 1):
            for result in self.results:
                _say(f"round {turn} of {rounds}: {result.peer.title}")
                self._measure(result)

    def _measure(self, result: PeerResult) -> None:
        watch = DeadlockWatch(self.environment)
        result.loads.append(os.getloadavg()[0])
        try:
            result.rounds.append(self._measurement(result, quick=self.quick).run())
        except HarnessError as error:
            result.errors.append(masked(str(error)))
            _say(result.errors[-1])
        deadlocks = watch.found()
        if deadlocks.count:
            self.deadlocks[result.peer.name] = self.deadlocks.get(result.peer.name, 0) + deadlocks.count
            result.errors.append(f"{deadlocks.count} deadlocks: {deadlocks.details[:1]}")

    def _measurement(self, result: PeerResult, *, quick: bool) -> PeerMeasurement:
        return PeerMeasurement(
            peer=result.peer,
            endpoints=self.environment.endpoints,
            folder=self.environment.folder,
            quick=quick,
            recovery_seconds=self.recovery_seconds,
            recovers="recovery" not in result.missed,
        )


def _say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
