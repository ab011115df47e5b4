"""A run of crashpoints: lanes side by side list the lives of a target, and strike at each of their commands.

A run is a context manager: the lanes that listed a life strike too, and end with it.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from harness.checkers.base import Verdict
from harness.crashpoints.lane import LanePlace, LaneSettings, StrikeLane
from harness.crashpoints.listing import LifeDidNotEnd, points_of, without_repeated
from harness.crashpoints.lives import LIVES, Life
from harness.crashpoints.points import PRODUCER, CommandKind, CrashKind, CrashRow, CrashStrike, Point
from harness.crashpoints.repairs import Repairs
from harness.crashpoints.striking import Striker, not_struck
from harness.environments.base import Environment
from harness.errors import FOREIGN_ERRORS, HarnessError, TargetFailed, describe_error
from harness.history import Recorder
from harness.history.names import MACHINE
from harness.progress import Progress
from harness.run.gauge import MachineGauge
from harness.targets.programs import fork_server

# What the program of a producer imports (`harness.scenario.producing`).
_PRODUCER_IMPORTS = "harness.scenario.registry"

# As `Striker.strikes` counts them, two for most. A verdict reads all that its lane has recorded, and with a fork server
# another lane costs less than that.
_STRIKES_OF_A_LANE = 60

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
    seen: Counter[CommandKind] = field(default_factory=Counter)
    """How many commands of each kind the lanes have sent that are closed."""
    repairs: Repairs = field(default_factory=Repairs)
    unlived: dict[str, str] = field(default_factory=dict)
    """The lives that did not end without any strike, with the reason: they are not struck."""
    _gauge: MachineGauge | None = None
    _fork_server: str | None = None
    _free: list[StrikeLane] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _lanes: int = 0
    _databases: set[int] = field(default_factory=set)
    _asked: list[CrashStrike] = field(default_factory=list)
    _began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Measure the machine from now on, so that no lane is impatient with one that is busy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(self.folder / f"{MACHINE}.jsonl", process=MACHINE)
        self._gauge = self._stack.enter_context(MachineGauge(self._stack.enter_context(closing(recorder))))
        if imports := getattr(self.settings.target, "imports", ()):
            address = self.environment.folder / f"fork-{time.time_ns()}"
            self._fork_server = self._stack.enter_context(fork_server(address, [_PRODUCER_IMPORTS, *imports]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._side_by_side(len(self._free), self._close_one)

    def list_points(self, lives: Sequence[Life]) -> list[Point]:
        """The commands of each life; those of clients that send the same all the time are in the first life only."""
        self.progress.step(f"listing the commands of {', '.join(life.name for life in lives)}")
        found: dict[str, list[Point]] = {}
        waiting = _queue_of(lives)

        def list_some() -> None:
            lane = None
            try:
                while (life := _next(waiting)) is not None:
                    lane = lane or self._lane()
                    try:
                        found[life.name] = points_of(lane, life, background=life is lives[0])
                    except LifeDidNotEnd as error:
                        self.unlived[life.name] = str(error)
                        ended, lane = lane, None
                        self._close(ended)
                    self.progress.update(f"{len(found)} of {len(lives)}")
            finally:
                if lane is not None:
                    self._free.append(lane)

        self._side_by_side(min(self.jobs, len(lives)), list_some)
        if self._errors:
            raise self._errors[0]
        if not found:
            raise LifeDidNotEnd(next(iter(self.unlived.values())))
        self.points = without_repeated([point for life in lives for point in found.get(life.name, ())])
        return self.points

    def strike(self, strikes: Sequence[CrashStrike]) -> list[CrashRow]:
        """Make all strikes, and return a row for each that was ever asked for, in their order."""
        self._asked += strikes
        self._began = self._began or time.monotonic()
        self._strike_all(_mixed(strikes))
        # On a busy machine a command may come too late in each life of one lane, and a lane may not open.
        done = {row.strike for row in self.rows if row.struck or row.verdict is not Verdict.UNKNOWN}
        missed = [one for one in strikes if one not in done]
        if missed and time.monotonic() < self.deadline:
            self.rows = [row for row in self.rows if row.strike in done]
            self._strike_all(missed)
        if self._errors and not self.rows:
            raise self._errors[0]
        order = {one: number for number, one in enumerate(self._asked)}
        done = {row.strike for row in self.rows}
        why = _text(self._errors[0]) if self._errors else OUT_OF_TIME
        self.rows += [_unknown(one, why) for one in strikes if one not in done]
        self.rows.sort(key=lambda row: order[row.strike])
        return self.rows

    def strike_repairs(self, kinds: Sequence[CrashKind]) -> list[CrashRow]:
        """Strike at the commands that came after the strikes so far and in no life without one; all rows."""
        return self.strike(self.repairs.strikes({point.kind for point in self.points}, kinds))

    def _strike_all(self, strikes: Sequence[CrashStrike]) -> None:
        waiting = _queue_of(strikes)
        self._side_by_side(min(self.jobs, len(strikes)), lambda: self._work(waiting))

    def state(self) -> str:
        """How many strikes are made, and how long the others take if they take as long as these."""
        done = len(self.rows)
        left = (len(self._asked) - done) * (time.monotonic() - self._began) / max(1, done)
        return f"{done} of {len(self._asked)}, about {left:.0f} s to go"

    def _side_by_side(self, count: int, work: Callable[[], None]) -> None:
        """Do a work in so many threads at once; what they raise is in `_errors`."""
        threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"lane-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - `list_points` or `strike` raises or reports it
            self._errors.append(error)

    def _work(self, waiting: queue.SimpleQueue[CrashStrike]) -> None:
        """Strike in one lane after another, until no strike is left or the time is over."""
        while time.monotonic() < self.deadline:
            crash = _next(waiting)
            if crash is None:
                return
            try:
                lane = self._free_lane() or self._lane()
            except TargetFailed:
                waiting.put(crash)  # for the other lanes
                raise
            striker = Striker(lane=lane, deadline=self.deadline)
            try:
                while crash is not None:
                    self._strike(striker, crash)
                    if striker.spoiled or time.monotonic() > self.deadline - striker.reserve:
                        break
                    if self._fork_server is not None and striker.strikes > _STRIKES_OF_A_LANE:
                        break
                    crash = _next(waiting)
            finally:
                for row in striker.remaining(max(striker.reserve, self.deadline - time.monotonic())):
                    self._add(row)
                self._close(lane)

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
        if self.repairs.is_gone(crash):
            self._add(not_struck(crash))
            return
        try:
            row = striker.strike(crash)
            self.repairs.note(crash, striker.sent)
            if row is not None and row.verdict is Verdict.NOT_ASKED and not row.struck:
                self.repairs.note_gone(crash)
        except FOREIGN_ERRORS as error:
            row, striker.spoiled = _unknown(crash, _text(error)), True
        if row is not None:
            self._add(row)

    def _add(self, row: CrashRow) -> None:
        with self._lock:
            self.rows.append(row)
            self.on_row(row)
            self.progress.update(self.state())

    def _free_lane(self) -> StrikeLane | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _close_one(self) -> None:
        if lane := self._free_lane():
            self._close(lane)

    def _close(self, lane: StrikeLane) -> None:
        with closing(lane), self._lock:
            self.seen += lane.kinds()
        with self._lock:
            self._databases.discard(lane.database)

    def _lane(self) -> StrikeLane:
        with self._lock:
            self._lanes += 1
            number = self._lanes
            database = next(one for one in count() if one not in self._databases)
            self._databases.add(database)
        assert self._gauge is not None
        place = LanePlace(
            number=number,
            environment=self.environment,
            folder=self.folder,
            gauge=self._gauge,
            database=database,
            fork_server=self._fork_server,
        )
        try:
            return StrikeLane.open(self.settings, place)
        except TargetFailed:
            # The lanes of a run start their pools at once: on a busy machine the first one to start may be too late.
            shutil.rmtree(self.folder / f"lane-{number}", ignore_errors=True)
            return StrikeLane.open(self.settings, place)


def all_strikes(points: Sequence[Point], kinds: Sequence[CrashKind] = tuple(CrashKind)) -> list[CrashStrike]:
    """Each kind of strike at each point, as far as its life has it."""
    return [
        CrashStrike(point=point, kind=kind)
        for point in points
        for kind in kinds
        if kind not in LIVES[point.life].left_out
    ]


Work = TypeVar("Work")


def _queue_of(work: Sequence[Work]) -> queue.SimpleQueue[Work]:
    waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
    for one in work:
        waiting.put(one)
    return waiting


def _mixed(strikes: Sequence[CrashStrike]) -> list[CrashStrike]:
    """The strikes with the lives in turn: those that start a pool each time want the processor, others only wait."""
    by_life: dict[str, list[CrashStrike]] = {}
    for one in strikes:
        by_life.setdefault(one.point.life, []).append(one)
    places = [(number / len(own), one) for own in by_life.values() for number, one in enumerate(own)]
    return [one for _, one in sorted(places, key=itemgetter(0))]


def _next(waiting: queue.SimpleQueue[Work]) -> Work | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, HarnessError) else describe_error(error)


def _unknown(crash: CrashStrike, why: str) -> CrashRow:
    return CrashRow(strike=crash, verdict=Verdict.UNKNOWN, outcome="not struck", why=why, struck=False)
