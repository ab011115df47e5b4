"""The load of a process of Locust that judges it: it plans the load, watches its servers, and gives the verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gevent

import agentexec as ax
from harness.environments.deadlocks import DeadlockWatch
from harness.errors import EXIT_UNKNOWN
from harness.load import locust_preflight
from harness.load.baseline import Baseline, baseline_for
from harness.load.bill import LoadBill
from harness.load.figures import Figures, merged
from harness.load.gauge_sources import gauges_of
from harness.load.gauges import LoadGauges
from harness.load.locust_options import LoadOptions
from harness.load.locust_registry import ShapeLike
from harness.load.locust_run import LocustLoad
from harness.load.locust_test import Assignment, LoadTest, Sender
from harness.load.locust_verdict import EndedLoad, conclude, thresholds_of
from harness.load.resources import Sampled
from harness.load.staging import Brake
from harness.load.target import LoadTarget, new_run
from harness.load.thresholds import Threshold, ThresholdOutcome, evaluate

_GRACE_SECONDS = 10.0


class JudgingLoad(LocustLoad):
    """The load of a process that runs alone."""

    def __init__(self, environment: Any, runner: Any) -> None:
        super().__init__(environment, runner)
        self.run = ""
        self.gaps: list[str] = []
        self.figures: dict[str, tuple[Figures, float]] = {}
        """The figures of each process, and the seconds that its load lasted."""
        self._canaries: Sender | None = None
        self._clients: Mapping[str, ax.Client] = {}
        self._brake: Brake | None = None
        self._deadlocks: DeadlockWatch | None = None
        self._gauges: LoadGauges | None = None
        self._thresholds: Sequence[Threshold] = ()
        self._bill = LoadBill(metering=None, window=None)
        self._baseline: Baseline | None = None
        self._users = 0
        self._first_users: int | None = environment.parsed_options.num_users
        # Locust's own timer begins before the preflight; it does not begin if there is no time.
        self._run_time: float | None = None
        if environment.parsed_options.headless:
            self._run_time, environment.parsed_options.run_time = environment.parsed_options.run_time, None

    def sender(self) -> Sender:
        return self._canaries or super().sender()

    # The number of users

    def users(self, shape: ShapeLike) -> int | None:
        elapsed, waiting = self.progress()
        end = self.plan.seconds
        over = end is not None and elapsed >= end
        if end is not None and over and (not waiting or elapsed >= end + _GRACE_SECONDS):
            return None
        if self.broken():
            return None  # the rest of the load will not happen
        if elapsed and self.until and all(self._condition_holds()):
            print(f"load: it ends because {shape.until} holds.", flush=True)
            return None
        if not elapsed:
            given = self._first_users or 0
            self._users = given if given > 1 else shape.first_users()
        elif waiting:
            self._users = min(shape.most_users, max(2 * self._users, self._users + waiting))
            self.grown()
        elif self.has_newcomer():
            # Locust shares the users with it when their number changes.
            self._users += 1 if self._users < shape.most_users else -1
        return self._users

    def progress(self) -> tuple[float, int]:
        """Seconds since the load began, 0 before all processes began it, and the arrivals that wait for a user."""
        return (0.0, 0) if self.test is None else (self.test.elapsed, self.test.waiting)

    def broken(self) -> bool:
        """Whether the arrivals of a process broke off; its figures say why."""
        return self.test is not None and self.test.arriving.failure is not None

    def grown(self) -> None:
        """Note that the number of users grows for the arrivals that wait."""

    def has_newcomer(self) -> bool:
        """Whether a load worker came while the load runs, and has no users."""
        return False

    def recent(self) -> Sequence[Figures]:
        """The figures of the last seconds, of each process."""
        return [] if self.test is None else [self.test.producers.recent.figures()]

    def _condition_holds(self) -> Iterator[bool]:
        rows = merged(self.recent()).all_rows(planned=0.0, seconds=0.0)
        for result in evaluate(self.until, rows):
            yield result.outcome is ThresholdOutcome.MET

    # The start

    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        self.open(options, target, self.planned(options, target))

    def planned(self, options: LoadOptions, target: LoadTarget) -> Assignment:
        """The whole of a new load, after its preflight."""
        # Whatever ends the test before it is judged, such as a --run-time that is shorter than the preflight.
        self.environment.process_exit_code = EXIT_UNKNOWN
        self.figures, self.gaps = {}, []
        shape = self.environment.shape_class
        self.plan_for(shape, self._run_time or self.environment.parsed_options.run_time)
        self._thresholds = thresholds_of(self.environment)
        self._baseline = baseline_for(options.baseline, self._thresholds)
        self.run = new_run()
        preflight = locust_preflight.Preflight(self.environment, options, target, self.plan, self.run)
        # Whatever ends the preflight, the clients that it made are closed.
        self._canaries, self._clients = preflight.canaries, preflight.clients
        preflight.run()
        self._canaries = None
        self._bill = LoadBill.begin(options.meter, options.prices, self._thresholds)
        self._gauges = gauges_of(target, list(self._clients), lambda: self.progress()[0], self._bill.endpoint)
        self._gauges.start()
        self._brake = Brake(self._clients, options.brake, self._brake_pulled, self._gauges.note_depth)
        self._brake.start()
        self._deadlocks = DeadlockWatch(target.database_url)
        name = None if shape is None else type(shape).__name__
        return Assignment(run=self.run, shape=name, seconds=self.plan.seconds)

    def begin(self, **_: Any) -> None:
        super().begin()
        if not self.ended and self._run_time is not None and not self.plan.schedule:
            run_time, self._run_time = self._run_time, None
            gevent.spawn_later(run_time, self.end_test)

    def refuse(self, sentence: str, code: int) -> None:
        self._canaries = None
        self._release()
        self.environment.process_exit_code = code
        self.runner.log_exception("load", sentence, "")
        self.end_test()
        raise gevent.GreenletExit  # ends the start of the test; Locust takes no other exception as an end

    def end_test(self) -> None:
        """Let Locust stop the test, and end if it has no page."""
        gevent.spawn(self.runner.quit if self.environment.parsed_options.headless else self.runner.stop)

    def _brake_pulled(self, sentence: str) -> None:
        self.gaps.append(sentence)
        self.end_test()

    # The end

    def quitting(self, **_: Any) -> None:
        self.runner.stop()
        self.stop()  # Ctrl-C may have ended the greenlet in which Locust stopped the test

    def stop(self, **_: Any) -> None:
        super().stop()
        # Locust ends when this call returns, and the test may be stopped twice at the same time.
        self.concluded.wait()

    def conclude(self) -> None:
        self._release()
        test, self.test = self.test, None
        self.collect(test)
        if self.figures or self.processes():
            self._judge()
        else:
            print("load: The load was stopped before it began; nothing is measured.", file=sys.stderr)

    def collect(self, test: LoadTest | None) -> None:
        """Wait until the load has ended in each process, and get the figures."""
        if test is not None:
            self.figures["local"] = (test.finish(self.options().drain), test.seconds)

    def processes(self) -> Mapping[str, Assignment]:
        """The load workers that take part."""
        return {}

    def _release(self) -> None:
        if self._brake is not None:
            self._brake.end()
            self._brake = None
        if self._gauges is not None:
            self._gauges.end()
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def _judge(self) -> None:
        processes = self.processes()
        judged = EndedLoad(
            run=self.run,
            parts=list(self.figures.values()),
            plan=self.plan,
            workers_lost=[part.label for client, part in processes.items() if client not in self.figures],
            bill=self._bill.figures(),
            gaps=self.gaps,
            sampled=Sampled() if self._gauges is None else self._gauges.sampled(),
            deadlocks=self._deadlocks.found().count if self._deadlocks is not None else None,
            lateness=self.options().lateness,
            processes=max(1, len(processes)),
            joined={part.label: part.joins for part in processes.values() if part.joins is not None},
            runner=self.runner,
            baseline=self._baseline,
        )
        self.environment.process_exit_code = conclude(judged, self._thresholds, self.options().report)
