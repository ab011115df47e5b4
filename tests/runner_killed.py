"""`python -m tests.runner_killed [FAULT ...]`: SIGKILL the runner in the middle of each fault; nothing may be left.

Each fault of the scenarios that ship strikes in a run of its own, on embedded servers, and the runner is killed
`--after` seconds after the injection began. Then no process of the run is alive, stopped ones and proxies included, and
its folder, shared memory and memory cgroups are gone. Servers end with the run, and their settings, quotas and roles
with them.

Exit codes: 0 if nothing is left of any of them, 1 if something is, or if a fault did not strike.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

import chaos
from harness.environments import memory_group
from harness.faults.base import Fault
from harness.scenario import Scenario

GONE_SECONDS = 60.0
_POLL_SECONDS = 0.05
# A pool may not start in time on a busy machine.
_TRIES = 3
_STRIKES = re.compile(r"fault \d+ of \d+: ")
# Few enough for a short run; a mixture needs as many as it has gates.
_TASKS, _TASKS_OF_MIXTURE = 60, 1_200


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A fault by the name of its operations, as number `number` of a scenario."""

    name: str
    scenario: str
    number: int
    fault: Fault

    def arguments(self) -> Sequence[str]:
        """Those of `harness chaos run` that inject it, and no other fault."""
        scenario = chaos.SCENARIOS[self.scenario]
        tasks = _TASKS if len(scenario.faults) < _TASKS else _TASKS_OF_MIXTURE
        return [self.scenario, "--faults", str(self.number), "--tasks", str(tasks)]


def kinds() -> Mapping[str, Kind]:
    """Each fault of the scenarios by its name; those of several scenarios from the smallest one."""
    found: dict[str, Kind] = {}
    for scenario in sorted(chaos.SCENARIOS.values(), key=_size):
        for number, fault in enumerate(scenario.faults, 1):
            kind = Kind(name=fault.name, scenario=scenario.name, number=number, fault=fault)
            found.setdefault(fault.name, kind)
    return found


def _size(scenario: Scenario) -> int:
    return len(scenario.faults)


class KilledRun:
    """A run of some faults in a folder of its own, which is its temporary folder."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._segments: set[int] = set()
        self._sessions: list[str] = []
        self._runner = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", "chaos", "run", *arguments),
                *("--seed", "1", "--report", str(folder / "report")),
            ],
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill(self, after: float = 0.0) -> int:
        """SIGKILL the runner so many seconds after the injection began; how many other processes there were.

        Raises `AssertionError` if the run ends before.
        """
        assert self._runner.stdout is not None
        lines = []
        for line in self._runner.stdout:
            lines.append(line)
            if _STRIKES.search(line):
                break
        # The middle of a fault is a moment, which no event marks.
        time.sleep(after)
        pids = {process.pid for process in self._processes()}
        self._segments = {one for one, creator in _segments().items() if creator in pids}
        self._sessions = [path.name for path in self._folder.glob("hx-*")]
        os.kill(self._runner.pid, signal.SIGKILL)
        code = self._runner.wait()
        self._runner.stdout.close()
        assert code == -signal.SIGKILL, "".join(lines)
        return len(pids) - 1

    def left(self) -> list[str]:
        """What is left of it now."""
        return [
            *(f"process {process.pid}" for process in self._processes()),
            *(f"folder {path.name}" for path in self._folder.glob("hx-*")),
            *(f"shared memory {one}" for one in sorted(self._segments & _segments().keys())),
            *(f"cgroup {one}" for name in self._sessions for one in _cgroups(name)),
        ]

    def _processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_of(process)]

    def _is_of(self, process: psutil.Process) -> bool:
        """By its temporary folder, or by its working folder: a title may be where its environment was."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            own = str(self._folder)
            return process.environ().get("TMPDIR") == own or process.cwd().startswith(f"{own}{os.sep}")
        except psutil.Error:
            return False


def _segments() -> Mapping[int, int]:
    """The segments of System V shared memory, each with the process that made it."""
    lines = Path("/proc/sysvipc/shm").read_text("ascii").splitlines()[1:]
    return {int(words[1]): int(words[4]) for words in map(str.split, lines)}


def _cgroups(session: str) -> list[Path]:
    """The memory cgroups of a session."""
    own = [place for group in memory_group.groups_of("self").values() for place in (group, group.parent)]
    return [found for place in own for found in place.glob(f"{session}-*")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of the run of one fault whose runner was killed."""

    kind: Kind
    processes: int = 0
    seconds: float = 0.0
    left: Sequence[str] = ()
    failure: str = ""

    def __str__(self) -> str:
        """One line of the table."""
        name = f"{self.kind.name:<28} {self.kind.scenario:<30}"
        if self.failure:
            return f"FAILED {name} {self.failure}"
        found = ", ".join(self.left) or f"{self.processes:>3} processes gone in {self.seconds:4.1f} s"
        return f"{'LEFT  ' if self.left else 'clean '} {name} {found}"


def _struck(kind: Kind, place: Path, *, after: float) -> tuple[KilledRun, int, str]:
    """A run that came to its fault, with its number of processes; or why none of them came to it."""
    for number in range(1, _TRIES + 1):
        run = KilledRun(kind.arguments(), place / f"{kind.name}-{number}")
        try:
            return run, run.kill(after), ""
        except AssertionError as error:
            failure = str(error)
    return run, 0, failure[-1_000:]


def killed(kind: Kind, place: Path, *, after: float) -> Outcome:
    """Kill the runner of a fault, and wait until nothing is left of it."""
    run, processes, failure = _struck(kind, place, after=after)
    if failure:
        return Outcome(kind=kind, failure=failure)
    began = time.monotonic()
    while (left := run.left()) and time.monotonic() - began < GONE_SECONDS:
        time.sleep(_POLL_SECONDS)
    return Outcome(kind=kind, processes=processes, seconds=time.monotonic() - began, left=left)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.runner_killed", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAULT", help="names of operations; all by default")
    parser.add_argument("--after", type=float, default=0.5, metavar="S", help="seconds (default: 0.5)")
    parser.add_argument("--together", type=int, default=2, metavar="N", help="runs at a time (default: 2)")
    options = parser.parse_args(arguments)
    known = kinds()
    if unknown := sorted(set(options.names) - known.keys()):
        parser.error(f"there is no fault {unknown[0]!r}")
    chosen = [known[name] for name in options.names or known]
    with (
        tempfile.TemporaryDirectory(prefix="k-") as name,
        ThreadPoolExecutor(options.together) as pool,
    ):
        place = Path(name)
        place.chmod(0o755)  # the user of Postgres enters it

        def one(kind: Kind) -> Outcome:
            outcome = killed(kind, place, after=options.after)
            print(outcome, flush=True)
            return outcome

        bad = sum(bool(found.left or found.failure) for found in pool.map(one, chosen))
    print(f"{len(chosen) - bad} of {len(chosen)} kinds of faults left nothing")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
