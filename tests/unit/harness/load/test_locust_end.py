"""The end of a load under Locust: Ctrl-C kills the greenlet in which Locust stops the test, wherever it waits."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each script has a process of its own, because importing Locust patches the standard library.
BEGIN = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
import gevent.event
from types import SimpleNamespace
import harness.load.locust_events
from harness.load.locust_judging import JudgingLoad
from harness.load.locust_master import MasterLoad

class Slow:
    def __init__(self):
        self.asked, self.may_end = gevent.event.Event(), gevent.event.Event()
    def end(self):
        self.asked.set()
        self.may_end.wait()

options = SimpleNamespace(num_users=None, headless=True, run_time=None)
environment = SimpleNamespace(host=None, parsed_options=options)
brake = Slow()
"""
INTERRUPTED = """
class Interrupted(JudgingLoad):
    def collect(self, test):
        self.collected = test

load = Interrupted(environment, None)
load._brake = brake
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
# Locust ends the process twice if the shape was stopped from outside: in the greenlet that stopped it, and after it.
TWICE = """
class Runner:
    clients, sent_away = {}, 0
    def stop(self, send_stop_to_client=True): ...
    def quit(self):
        self.sent_away += 1

runner = Runner()
load = MasterLoad(environment, runner)
load._brake = brake
load.ended = False
load.concluded.clear()
ends = [gevent.spawn(runner.quit) for _ in range(2)]
brake.asked.wait(10)
gevent.sleep(0.1)
assert not runner.sent_away, "the load workers have not reported"
brake.may_end.set()
gevent.joinall(ends, timeout=10)
assert runner.sent_away == 2
"""
# A master that waits for its load workers has no load to end; Locust itself would leave those that came behind.
WAITING = """
import os, signal, sys
from locust.env import Environment
from harness.load import locust_signals

what = sys.argv[1]
environment = Environment()
environment.parsed_options = SimpleNamespace(
    headless=True, expect_workers=2, expect_workers_max_wait=1 if what == "limit" else 0
)
runner = environment.create_master_runner("127.0.0.1", 0)
quit = runner.quit
runner.quit = lambda: (print("sent away", flush=True), quit())
locust_signals.listen(environment, runner)
locust_signals.limit_wait(environment, runner)
if what != "limit":
    gevent.spawn(os.kill, os.getpid(), getattr(signal, what))
gevent.sleep(20)
print("it waited on")
"""


def run(*scripts: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "".join(scripts), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_load_ends_although_ctrl_c_kills_its_end() -> None:
    done = run(BEGIN, INTERRUPTED)
    assert done.returncode == 0, done.stderr
    assert "The load was stopped before it began" in done.stderr


def test_a_master_sends_its_load_workers_away_only_after_they_reported() -> None:
    done = run(BEGIN, TWICE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("SIGTERM", "It was stopped before its load workers came"),
        ("limit", "0 of 2 load workers came within 1 s"),
    ],
)
def test_a_master_that_waits_ends_with_a_sentence_and_sends_away_who_came(what: str, sentence: str) -> None:
    done = run(BEGIN, WAITING, words=(what,))
    assert (done.returncode, done.stdout) == (2, "sent away\n"), done.stderr
    assert sentence in done.stderr
