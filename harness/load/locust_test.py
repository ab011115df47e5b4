"""One load test in one process of Locust: its arrivals, its producers, and its end."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pydantic import BaseModel

import agentexec as ax
from agentexec.task import EnqueueOptions
from harness.draws import seeded
from harness.load.arriving import Arriving, Stopped, Taken
from harness.load.figures import Figures
from harness.load.gauges import LoadGauges
from harness.load.joining import Join
from harness.load.locust_options import LoadOptions
from harness.load.producing import RUN_KEY, Producers, RequestListener, Sending
from harness.load.schedule import LoadSchedule, PlannedArrival
from harness.load.target import LoadTarget
from harness.load.task_log import TaskLog
from harness.load.worker_gauges import GeneratorSampler

_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class UserTask:
    """A task that a user enqueues. `taken` is its arrival, None in a closed model; `queue` is that of its class."""

    user: int
    queue: str | None
    taken: Taken | None
    name: str
    context: BaseModel
    options: EnqueueOptions


class Sender(Protocol):
    """Sends the tasks of users: those of a load, or the canaries before it."""

    is_open: bool

    def take(self, line: str) -> Taken:
        """The next due arrival of a user class; raises `Stopped` after the end."""
        ...

    def skip(self, taken: Taken) -> None:
        """Note that a user enqueues nothing for an arrival that it took."""
        ...

    def give_back(self, line: str, taken: Taken) -> None:
        """Leave an arrival of a user that ends to another user of its class."""
        ...

    def send(self, task: UserTask) -> ax.Task | None:
        """Enqueue a task; returns None if it was not acknowledged, and raises `Stopped` after the end."""
        ...

    def wait_for(self, task: ax.Task) -> None:
        """Wait until a task is terminal."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """The part of a load that one process has: the run, and its number among all load processes.

    `shape` is the name of the shape class, and `seconds` the end of the load; both may be None. `joins` is the second
    of the load at which this process asked to join it, None for one that begins it.
    """

    run: str
    shape: str | None
    seconds: float | None
    shard: int = 0
    shards: int = 1
    joins: float | None = None

    @property
    def label(self) -> str:
        """The number of the process among all, as in "2 of 3"."""
        return f"{self.shard + 1} of {self.shards}"

    def to_value(self) -> dict[str, Any]:
        """As JSON, for a message to a load worker."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """What is planned: the schedule, None in a closed model, and the end of it in seconds, None if there is none."""

    schedule: LoadSchedule | None
    seconds: float | None

    def arrivals(self, part: Assignment) -> Iterator[PlannedArrival]:
        """The arrivals of a process."""
        if self.schedule is None:
            return iter(())
        end = math.inf if self.seconds is None else self.seconds
        return itertools.takewhile(
            # The last arrival of a replay is at the end of its stage.
            lambda arrival: arrival.intended <= end,
            self.schedule.arrivals()
            if part.joins is not None
            else self.schedule.arrivals(part.shard, part.shards),
        )

    def planned(self, seconds: float) -> float | None:
        """The planned number of arrivals in the first `seconds`."""
        end = seconds if self.seconds is None else min(seconds, self.seconds)
        return None if self.schedule is None else self.schedule.planned(end)


class LoadTest:
    """One test in this process, from its start to its figures."""

    def __init__(
        self,
        options: LoadOptions,
        target: LoadTarget,
        plan: LoadPlan,
        part: Assignment,
        *,
        log: TaskLog,
        report: RequestListener,
    ) -> None:
        self.plan = plan
        self.part = part
        self.is_open = plan.schedule is not None
        self._options = options
        self._classes: Mapping[str, float] = {}
        self._began = time.monotonic()
        self._lasted: float | None = None
        self._joined = part.joins is None
        self.arriving = Arriving(plan.arrivals(part), self._choose)
        self.producers = Producers(
            target.client, run=part.run, producers=options.producers, log=log, report=report
        )
        self._gauges = LoadGauges([GeneratorSampler()], lambda: self.elapsed)

    def start(self, queues: Sequence[str]) -> None:
        """Connect to the servers; raises what they raise."""
        self.producers.start(queues)

    def begin(self, classes: Mapping[str, float]) -> None:
        """Let the arrivals begin; `classes` are the weights of the user classes that have users here."""
        self._classes = classes
        if self.is_open and not self.arriving.epoch:
            # A collection of all that Locust and the clients keep takes 80 ms, in which no arrival is sent.
            gc.collect()
            gc.freeze()
            self.arriving.start()
            self._began = self.producers.began = self.arriving.epoch
        self._gauges.start()

    def prepare_to_join(self) -> None:
        """Make ready to join a load that runs; what other processes have sent is passed over."""
        if self.part.joins is not None:
            self.arriving.pass_over(self.part.joins)

    def join(self, classes: Mapping[str, float], elapsed: float, join: Join) -> None:
        """Join a load `elapsed` seconds after its begin; `classes` are those of `begin`."""
        self._classes = classes
        if self.is_open:
            gc.freeze()
            self.arriving.start(elapsed, join)
        self._began = self.producers.began = time.monotonic() - elapsed
        self._joined = True
        self._gauges.start()

    def give_up(self, join: Join) -> None:
        """Leave to a process that joins its part of the arrivals to come."""
        if not self.arriving.give_up(join):
            self.note_gap(f"the load process {self.part.label} heard too late that another one joined")

    @property
    def elapsed(self) -> float:
        """Seconds since the load began, 0 before that; a closed model begins with this test."""
        return self.arriving.elapsed() if self.is_open else time.monotonic() - self._began

    @property
    def waiting(self) -> int:
        """Due arrivals that no user has taken, also one that this process is too late to offer."""
        end = self.plan.seconds
        over = end is not None and self.arriving.elapsed() >= end
        return max(self.arriving.waiting, int(over and not self.arriving.exhausted))

    def take(self, line: str) -> Taken:
        return self.arriving.take(line)

    def skip(self, taken: Taken) -> None:
        self.producers.drop(taken.intended, taken.lateness, "the Locust task enqueued nothing")

    def give_back(self, line: str, taken: Taken) -> None:
        self.arriving.give_back(line, taken)

    def send(self, task: UserTask) -> ax.Task | None:
        taken = task.taken
        if self._lasted is not None and taken is None:
            raise Stopped
        sending = Sending(
            queue=self._options.queue_of(task.queue),
            user=task.user,
            intended=time.monotonic() if taken is None else taken.intended,
            lateness=0.0 if taken is None else taken.lateness,
        )
        return self.producers.enqueue(sending, task.name, task.context, **task.options)

    def wait_for(self, task: ax.Task) -> None:
        self.producers.wait_for(task)

    def stop(self) -> None:
        """End the load: nothing more is sent."""
        if self._lasted is None:
            self._lasted = time.monotonic() - self._began
            self.arriving.stop()
            gc.unfreeze()
            self._gauges.end()
            self.producers.note_end()

    def finish(self, within: float) -> Figures:
        """Wait for the calls under way and then for the tasks, at most `within` seconds each; returns the figures."""
        self.stop()
        deadline = time.monotonic() + within
        while self.producers.busy and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for taken in self.arriving.never_sent():
            self.producers.drop(taken.intended, taken.lateness)
        self.note_gap(self._missing_arrivals())
        # A user that Locust killed took an arrival and did not send it.
        for _ in range(self.arriving.due - self.producers.figures.accounting.due):
            self.producers.drop(time.monotonic(), 0.0)
        self.producers.drain(within)
        self.producers.close()
        self.producers.figures.series.merge(self._gauges.series)
        return self.producers.figures

    def note_gap(self, gap: str | None) -> None:
        """Note what is missing in the figures of this process, as a sentence; None for nothing."""
        if gap is not None:
            self.producers.figures.gaps.append(gap)

    def _missing_arrivals(self) -> str | None:
        if self.arriving.failure is not None:
            return f"the arrivals of the load process {self.part.label} broke off: {self.arriving.failure}"
        if self.is_open and not self.arriving.epoch and self.part.shards > 1 and self._joined:
            return f"the arrivals of the load process {self.part.label} never began"
        return None

    @property
    def seconds(self) -> float:
        """How long the load lasted, or has lasted so far; Locust may stop it some time after its planned end."""
        lasted = time.monotonic() - self._began if self._lasted is None else self._lasted
        return lasted if self.plan.seconds is None else min(lasted, self.plan.seconds)

    def _choose(self, arrival: PlannedArrival) -> str:
        """The user class of an arrival, by the weights of the classes and the number of the arrival."""
        if len(self._classes) < 2:
            return next(iter(self._classes), "")
        # A string as seed: the hash of a tuple differs between processes.
        draw = seeded("class", arrival.number)
        return draw.choices(list(self._classes), list(self._classes.values()))[0]


class NoSender:
    """The sender of users that Locust starts although there is no load: it ends them."""

    is_open = True

    def take(self, line: str) -> Taken:
        raise Stopped(line)

    def skip(self, taken: Taken) -> None:
        raise Stopped(taken)

    def give_back(self, line: str, taken: Taken) -> None:
        """Nothing: no user has an arrival."""

    def send(self, task: UserTask) -> ax.Task | None:
        raise Stopped(task.name)

    def wait_for(self, task: ax.Task) -> None:
        raise Stopped(task)


class Canaries:
    """Sends the first task of each name before a load."""

    def __init__(
        self, client_of: Callable[[str], ax.Client], options: LoadOptions, plan: LoadPlan, run: str
    ) -> None:
        self.is_open = plan.schedule is not None
        self._plan = plan
        self._client_of = client_of
        self._options = options
        self._run = run
        self.sent: dict[tuple[str, str], ax.Task] = {}
        """The canaries by queue and task name."""

    def take(self, line: str) -> Taken:  # noqa: ARG002 - one arrival for all classes
        """The first arrival of the load, at once: users read its size."""
        arrivals = self._plan.arrivals(Assignment(run=self._run, shape=None, seconds=None))
        return Taken(next(arrivals, PlannedArrival(0, 0.0, 0)), time.monotonic(), 0.0)

    def skip(self, taken: Taken) -> None:
        raise Stopped(taken)

    def give_back(self, line: str, taken: Taken) -> None:
        """Nothing: each user of the preflight sends its own."""

    def send(self, task: UserTask) -> ax.Task | None:
        key = (self._options.queue_of(task.queue), task.name)
        if key not in self.sent:
            options = task.options
            options["metadata"] = {**(options.get("metadata") or {}), RUN_KEY: self._run}
            self.sent[key] = self._client_of(key[0]).enqueue_sync(task.name, task.context, **options)
        return self.sent[key]

    def wait_for(self, task: ax.Task) -> None:
        """Nothing: the preflight waits for all canaries together."""
