"""How late a load generator is by itself: users under Locust's gevent whose client answers at once."""

from __future__ import annotations

import json
import subprocess
import sys

from harness.errors import TargetFailed
from loadtests.bench.bench import BenchEnvironment, BenchResult, Figure

RATE = 1000.0
SECONDS = 10.0
USERS = 100
# Locust first, as its own command does: it patches the standard library before anything else is imported.
_PROGRAM = "import locust; from loadtests.bench.lateness import generate; generate(float('{seconds}'))"


def lateness(environment: BenchEnvironment, repeats: int) -> list[BenchResult]:
    """The p99 and the maximum of the lateness at 1,000 arrivals a second in one process, and what was never sent."""
    seconds = environment.scaled(int(SECONDS))
    found = [_generated(seconds) for _ in range(repeats)]
    return [
        BenchResult(figure=Figure(name=name, unit=unit, values=values, higher_is_better=False))
        for name, unit in (("lateness p99", "ms"), ("lateness max", "ms"), ("never sent", "tasks"))
        for values in [tuple(one[name] for one in found)]
    ]


def _generated(seconds: int) -> dict[str, float]:
    command = [sys.executable, "-c", _PROGRAM.format(seconds=seconds)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise TargetFailed(f"The generator ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def generate(seconds: float) -> None:
    """Generate arrivals and print the figures as JSON. Runs under gevent."""
    import threading

    from harness.load.accounting import Accounting
    from harness.load.arriving import Arriving, Stopped
    from harness.load.schedule import LoadSchedule
    from harness.load.stages import hold

    arriving = Arriving(LoadSchedule(stages=hold(RATE, seconds)).arrivals(), lambda _: "user")
    counts = Accounting()

    def user() -> None:
        while True:
            try:
                taken = arriving.take("user")
            except Stopped:
                return
            counts.notice(taken.lateness)
            counts.send(taken.lateness)

    users = [threading.Thread(target=user) for _ in range(USERS)]
    for one in users:
        one.start()
    arriving.start()
    while not arriving.exhausted or arriving.waiting:
        threading.Event().wait(0.05)
    arriving.stop()
    for one in users:
        one.join()
    p99, most = counts.lateness.quantile(99) or 0.0, counts.lateness.most or 0.0
    figures = {
        "lateness p99": p99 * 1000,
        "lateness max": most * 1000,
        "never sent": arriving.due - counts.sent,
    }
    print(json.dumps(figures))
