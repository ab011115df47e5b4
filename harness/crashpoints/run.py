"""A run of crashpoints: lanes side by side list the lives of a target, and strike at each of their commands."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.checkers.base import Verdict
from harness.crashpoints.lane import LanePlace, LaneSettings, StrikeLane
from harness.crashpoints.lives import LIVES, Life, Meanwhile
from harness.crashpoints.points import PRODUCER, CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.striking import Striker, points_of
from harness.environments.base import Environment
from harness.errors import FOREIGN_ERRORS, HarnessError, describe_error
from harness.history import Recorder
from harness.history.names import MACHINE
from harness.progress import Progress
from harness.run.gauge import MachineGauge

_NUMBERS_OF_A_LANE = 1_000_000
OUT_OF_TIME = "the time of the run was over before this strike"


@dataclass(kw_only=True, slots=True)
class CrashpointsRun:
    """Strikes of a run. `jobs` lanes work side by side; no strike begins after `deadline` (by `time.monotonic`)."""

    settings: LaneSettings
    environment: Environment
    folder: Path
    jobs: int
    deadline: float
    progress: Progress
    on_row: Callable[[CrashRow], None]
    rows: list[CrashRow] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    _gauge: MachineGauge | None = None
    _lanes: int = 0
    _total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)

    def list_points(self, lives: Sequence[Life]) -> list[Point]:
        """The commands of each life; those of clients that send the same all the time are in the first life only."""
        self.progress.step(f"starting {self.settings.target.name}")
        with self._measured(), closing(self._lane()) as lane:
            for number, life in enumerate(lives):
                self.progress.step(f"listing the commands of the life {life.name}")
                self.points += points_of(lane, life, background=number == 0)
        return self.points

    def strike(self, strikes: Sequence[CrashStrike]) -> list[CrashRow]:
        """Make all strikes, and return a row for each in their order."""
        self._total = len(strikes)
        waiting: queue.SimpleQueue[CrashStrike] = queue.SimpleQueue()
        for one in strikes:
            waiting.put(one)
        workers = [
            threading.Thread(target=self._guarded, args=(waiting,), name=f"lane-{number}", daemon=True)
            for number in range(min(self.jobs, len(strikes)))
        ]
        with self._measured():
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        if self._errors and not self.rows:
            raise self._errors[0]
        order = {one: number for number, one in enumerate(strikes)}
        done = {row.strike for row in self.rows}
        why = _text(self._errors[0]) if self._errors else OUT_OF_TIME
        self.rows += [_unknown(one, why) for one in strikes if one not in done]
        self.rows.sort(key=lambda row: order[row.strike])
        return self.rows

    def _guarded(self, waiting: queue.SimpleQueue[CrashStrike]) -> None:
        try:
            self._work(waiting)
        except BaseException as error:  # noqa: BLE001 - `strike` raises or reports it
            self._errors.append(error)

    def _work(self, waiting: queue.SimpleQueue[CrashStrike]) -> None:
        """Strike in one lane after another, until no strike is left or the time is over."""
        while time.monotonic() < self.deadline:
            crash = _next(waiting)
            if crash is None:
                return
            lane = self._lane()
            striker = Striker(lane=lane)
            try:
                while crash is not None:
                    self._strike(striker, crash)
                    if striker.spoiled or time.monotonic() > self.deadline - striker.reserve:
                        break
                    crash = _next(waiting)
            finally:
                for row in striker.remaining(max(striker.reserve, self.deadline - time.monotonic())):
                    self._add(row)
                lane.close()

    def _strike(self, striker: Striker, crash: CrashStrike) -> None:
        if crash.kind.kills and crash.point.role == PRODUCER and not striker.lane.can_kill_producer:
            self._add(
                CrashRow(
                    strike=crash,
                    verdict=Verdict.NOT_ASKED,
                    outcome="not asked",
                    why="the client of an adapter has the evidence about its tasks in its memory",
                    struck=False,
                )
            )
            return
        try:
            row = striker.strike(crash)
        except FOREIGN_ERRORS as error:
            row, striker.spoiled = _unknown(crash, _text(error)), True
        if row is not None:
            self._add(row)

    def _add(self, row: CrashRow) -> None:
        with self._lock:
            self.rows.append(row)
            self.on_row(row)
            self.progress.update(f"{len(self.rows)} of {self._total}")

    def _lane(self) -> StrikeLane:
        with self._lock:
            self._lanes += 1
            number = self._lanes
        assert self._gauge is not None
        place = LanePlace(
            name=f"lane-{number}",
            environment=self.environment,
            folder=self.folder,
            gauge=self._gauge,
            first=number * _NUMBERS_OF_A_LANE,
        )
        return StrikeLane.open(self.settings, place)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Run the body with a gauge of the machine, so that no lane is impatient with a machine that is busy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(Recorder(self.folder / f"{MACHINE}.jsonl", process=MACHINE)) as recorder:
            with MachineGauge(recorder) as self._gauge:
                yield


def all_strikes(points: Sequence[Point], kinds: Sequence[CrashKind] = tuple(CrashKind)) -> list[CrashStrike]:
    """Each kind of strike at each point; in a life in which something happens meanwhile, no command arrives late."""
    return [
        CrashStrike(point=point, kind=kind)
        for point in points
        for kind in kinds
        if kind is not CrashKind.KILLED_LATE or LIVES[point.life].meanwhile is Meanwhile.NOTHING
    ]


def _next(waiting: queue.SimpleQueue[CrashStrike]) -> CrashStrike | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, HarnessError) else describe_error(error)


def _unknown(crash: CrashStrike, why: str) -> CrashRow:
    return CrashRow(strike=crash, verdict=Verdict.UNKNOWN, outcome="not struck", why=why, struck=False)
