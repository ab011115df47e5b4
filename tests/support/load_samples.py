"""A load as a test needs it: any number of tasks with latencies that a stall of the system makes."""

from __future__ import annotations

import math
import random
from itertools import islice

from harness.environments.log_errors import LoggedErrors
from harness.load.accounting import Accounting
from harness.load.load_time import LoadTime
from harness.load.page import stages_within
from harness.load.resources import WAL, Sampled, resources
from harness.load.rows import LoadRow
from harness.load.schedule import LoadSchedule
from harness.load.series import LoadSeries
from harness.load.stages import Stages, hold, ramp, spike
from harness.load.verdict import LoadEvidence, WorstTask
from harness.report.picture_data import FaultRow

SHAPE: Stages = [hold(100, "1m"), ramp(100, 400, "3m"), spike(1200, "20s"), hold(200, "2m")]
STALL = (150.0, 155.0)
FAULT = FaultRow(number=1, name="freeze-redis", kind="freeze-redis", start=STALL[0], end=STALL[1])


def sample(tasks: int, shape: Stages = SHAPE) -> tuple[LoadEvidence, LoadTime]:
    """A load that was served quickly, except in a stall of five seconds, with one task of a thousand lost."""
    randomness = random.Random(7)
    counts, series = Accounting(), LoadSeries()
    rows = {
        f"{kind} {task}": LoadRow()
        for kind in ("ENQUEUE", "WAIT", "RUN", "TASK")
        for task in ("answer", "title")
    }
    rows["LATE"] = LoadRow()
    worst: list[WorstTask] = []
    schedule = LoadSchedule(stages=shape, seed=1)
    end = 0.0
    for one in islice(schedule.arrivals(), tasks):
        task = "answer" if randomness.random() < 0.7 else "title"
        stalled = STALL[1] - one.intended if STALL[0] <= one.intended < STALL[1] else 0.0
        enqueue = 0.004 * randomness.lognormvariate(0, 0.4) + stalled
        wait = 0.01 * randomness.lognormvariate(0, 0.9)
        run = (0.2 if task == "answer" else 0.02) * randomness.lognormvariate(0, 0.6)
        lost = one.number % 1000 == 999
        total = math.inf if lost else enqueue + wait + run
        end = max(end, one.intended)
        counts.notice(0.0005)
        counts.send(0.001 + stalled)
        counts.acknowledged += 1
        for name, value in (("ENQUEUE", enqueue), ("WAIT", wait), ("RUN", run), ("TASK", total)):
            rows[f"{name} {task}"].record(math.inf if lost and name == "RUN" else value)
        rows["LATE"].record(0.001 + stalled)
        series.count(one.intended, "due")
        series.count(one.intended + stalled, "sent")
        series.count(one.intended + enqueue, "acknowledged")
        series.latency(one.intended, total)
        series.gauge(one.intended, "queue depth", 3 + 40 * stalled + randomness.random() * 4)
        series.gauge(one.intended, "CPU worker 1", 40 + randomness.random() * 30)
        series.gauge(one.intended, "Postgres WAL", (5 + randomness.random()) * 1e5)
        series.stage(one.intended, "wait", wait)
        if lost:
            counts.lost += 1
            worst.append(
                WorstTask(
                    row=f"TASK {task}",
                    activity=f"activity-{one.number}",
                    intended=one.intended,
                    seconds=total,
                    status="queued",
                )
            )
        else:
            counts.terminal["complete"] += 1
            series.count(one.intended + total, "completed")
    sampled = Sampled(
        totals={WAL: 4000.0 * counts.acknowledged}, notes={"workers CPU": "they run <elsewhere>"}
    )
    evidence = LoadEvidence(
        accounting=counts,
        rows=rows,
        planned=schedule.planned(end),
        seconds=end,
        worst=worst[:10],
        facts={"run": "load-20261127", "shape": "Day", "seed": "1"},
        resources=list(resources(sampled, series, counts.acknowledged)),
        logs=[
            LoggedErrors(service="postgres", count=2, sentences=("relation <x> does not exist",)),
            LoggedErrors(service="redis", count=None, why="no access"),
        ],
    )
    placed = stages_within(schedule.placed(), end)
    return evidence, LoadTime.of(series, end, stages=placed, faults=[FAULT])
