"""Stops a part of the system in the middle of a load of both models, and reads what each of them has seen."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from harness.environments.base import Service
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.urls import database_name
from harness.errors import HarnessError, UsageError
from harness.history import History, OperationType
from harness.load.generator import LocustCommand, run_locust
from harness.load.histogram import LatencyHistogram
from harness.load.load_time import LoadTime
from harness.load.series import LoadSeries
from harness.load.system import PoolCommand, SystemUnderLoad
from harness.load.task_log import ENV_FOLDER, counted
from harness.processes import descendants, send
from harness.report.picture_data import FaultRow
from loadtests import stall
from loadtests.work import TASK_NAME

STOPS = ("workers", "redis", "postgres", "generator")
MODELS = ("open", "closed")
SLOW_SECONDS = 1.0

_POOL = "loadtests.app:pool"
_QUEUE = "stall"
_BEFORE = 0.25
"""The share of the load that is over when the stop begins."""

_START_SECONDS = 60.0
_DRAIN_SECONDS = 60.0
_NANO = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What one model has seen: its exit code, the rows that breached, latencies, and how many of them are slow.

    `over_time` has the latencies by the time at which a task was due or sent, with the stop as a fault.
    """

    code: int
    breached: Sequence[str]
    latencies: LatencyHistogram
    slow: int
    over_time: LoadTime

    @classmethod
    def read(cls, folder: Path, code: int, tasks: Sequence[tuple[float, float]], fault: FaultRow) -> Self:
        """Read the verdict of a load; `tasks` are when each was due or sent, since the begin, and its latency."""
        document: dict[str, Any] = json.loads((folder / "verdict.json").read_text("utf-8"))
        latency = document["rows"][f"TASK {TASK_NAME}"]["latency"]
        series = LoadSeries()
        for sent, seconds in tasks:
            series.latency(sent, seconds)
        return cls(
            code=code,
            breached=[one["row"] for one in document["thresholds"] if one["outcome"] == "breached"],
            latencies=LatencyHistogram.from_value(latency["histogram"]),
            slow=sum(seconds > SLOW_SECONDS for _, seconds in tasks),
            over_time=LoadTime.of(series, document["seconds"], faults=[fault]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """A stop of `seconds`, and what each model has seen of it."""

    stopped: str
    seconds: float
    seen: Mapping[str, Seen]


def run_stall(
    environment: EmbeddedEnvironment, stopped: str, *, seconds: float, lasting: float, folder: Path
) -> Stall:
    """Load of both models for `lasting` seconds, with a stop in the middle; histories and verdicts go to the folder.

    Raises `UsageError` if the folder has an earlier stall, `HarnessError` if a load does not begin or has no verdict.
    """
    if folder.exists():
        raise UsageError(f"{folder} has an earlier run; name another folder with --report DIR.")
    folder.mkdir()
    with closing(SystemUnderLoad(environment, _QUEUE)) as system:
        system.prepare()
        pool = PoolCommand(pool=_POOL, folder=folder, log=folder / "pool.log", concurrency=16)
        with system.pool(pool), ThreadPoolExecutor() as threads:
            loads = {
                model: threads.submit(_load, model, environment, system, folder / model, lasting)
                for model in MODELS
            }
            _await_begin(loads, folder)
            time.sleep(_BEFORE * lasting)  # the load before the stop
            window = _stop(stopped, environment, seconds)
            codes = {model: load.result() for model, load in loads.items()}
    folders = {model: folder / model for model in MODELS}
    tasks = {model: list(_tasks(History.load(one / "history"))) for model, one in folders.items()}
    begin = min(sent for found in tasks.values() for sent, _ in found)
    start, end = (moment - begin for moment in window)
    fault = FaultRow(number=None, name=f"{stopped} stopped", kind="pause", start=start, end=end)
    seen = {
        model: Seen.read(
            folders[model], codes[model], [(sent - begin, latency) for sent, latency in tasks[model]], fault
        )
        for model in MODELS
    }
    return Stall(stopped=stopped, seconds=seconds, seen=seen)


def _load(
    model: str, environment: EmbeddedEnvironment, system: SystemUnderLoad, folder: Path, lasting: float
) -> int:
    (folder / "history").mkdir(parents=True)
    options = ["--run-time", f"{lasting:g}s", "--load-drain", f"{_DRAIN_SECONDS:g}", "--load-lateness", "0.2"]
    if model == "closed":
        options += ["--users", f"{stall.USERS}", "--spawn-rate", f"{stall.USERS}"]
    command = LocustCommand(
        file=Path(stall.__file__).with_name(f"{model}_model.py"),
        database=database_name(environment.endpoints.database_url),
        queue=_QUEUE,
        report=folder,
        options=options,
    )
    variables = system.variables() | {ENV_FOLDER: str(folder / "history")}
    within = _START_SECONDS + lasting + 2 * _DRAIN_SECONDS
    return run_locust(command, variables=variables, folder=folder, within=within)


def _await_begin(loads: Mapping[str, Future[int]], folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not all(counted(folder / model / "history", "enqueue") for model in MODELS):
        if time.monotonic() > deadline or any(load.done() for load in loads.values()):
            raise HarnessError(f"A load did not begin; see locust.log in the folders of {folder}.")
        time.sleep(0.05)


def _stop(stopped: str, environment: EmbeddedEnvironment, seconds: float) -> tuple[float, float]:
    """Stop a part for some seconds; returns the begin and the end on the clock of histories, in seconds."""
    with _standing_still(stopped, environment):
        began = time.monotonic()
        time.sleep(seconds)  # the length of the stop
        ended = time.monotonic()
    return began, ended


@contextmanager
def _standing_still(stopped: str, environment: EmbeddedEnvironment) -> Iterator[None]:
    services: dict[str, Service] = {"redis": "redis", "postgres": "postgres"}
    if service := services.get(stopped):
        environment.pause(service)
        try:
            yield
        finally:
            environment.resume(service)
        return
    marker = _POOL if stopped == "workers" else "locust"
    parents = [one.pid for one in psutil.Process().children() if marker in one.cmdline()]
    pids = [pid for parent in parents for pid in (parent, *descendants(parent))]
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


def _tasks(history: History) -> Iterator[tuple[float, float]]:
    """When each acknowledged task was due (open) or sent (closed), in seconds, and its latency."""
    ends = {op.value["task"]: op.value for op in history.where("complete", OperationType.OK)}
    for op in history.where("enqueue", OperationType.OK):
        if end := ends.get(op.value["task"]):
            yield op.time / _NANO - op.value["latency_ms"] / 1000, end["latency_ms"] / 1000
