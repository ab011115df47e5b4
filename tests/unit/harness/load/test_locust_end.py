"""The end of a load under Locust: Ctrl-C kills the greenlet in which Locust stops the test, wherever it waits."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own, because importing Locust patches the standard library.
SCRIPT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
import gevent.event
from types import SimpleNamespace
import harness.load.locust_events
from harness.load.locust_judging import JudgingLoad

class Slow:
    def __init__(self):
        self.asked, self.may_end = gevent.event.Event(), gevent.event.Event()
    def end(self):
        self.asked.set()
        self.may_end.wait()

class Interrupted(JudgingLoad):
    def collect(self, test):
        self.collected = test

options = SimpleNamespace(num_users=None, headless=True, run_time=None)
load = Interrupted(SimpleNamespace(host=None, parsed_options=options), None)
load._brake = brake = Slow()
load.ended = False
load.concluded.clear()
stopping = gevent.spawn(load.stop)
brake.asked.wait(10)
stopping.kill(timeout=10)
brake.may_end.set()
with gevent.Timeout(10):
    load.stop()
assert load.collected is None
"""


def test_a_load_ends_although_ctrl_c_kills_its_end() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "The load was stopped before it began" in run.stderr
