"""What ends Locust from outside: Ctrl-C, SIGTERM, and load workers that do not come."""

from __future__ import annotations

import signal
import sys
from typing import Any

import gevent
from locust.runners import STATE_INIT, MasterRunner, WorkerRunner

from harness.errors import EXIT_UNKNOWN


def listen(environment: Any, runner: Any) -> None:
    """Let Ctrl-C and SIGTERM end a load in order, with its verdict."""
    interruption = _Interruption(environment, runner)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        gevent.signal_handler(signal.SIGINT, interruption.interrupt)
    # Locust listens to SIGTERM only after the run of a shape, and after its load workers have come.
    if environment.parsed_options.headless and not isinstance(runner, WorkerRunner):
        gevent.signal_handler(signal.SIGTERM, interruption.terminate)


def limit_wait(environment: Any, runner: Any) -> None:
    """Take over --expect-workers-max-wait: Locust ends with 1 then, which is a breach."""
    options = environment.parsed_options
    seconds, options.expect_workers_max_wait = options.expect_workers_max_wait, 0
    if isinstance(runner, MasterRunner) and seconds:
        gevent.spawn_later(seconds, _give_up, runner, options.expect_workers, seconds)


def _give_up(runner: Any, expected: int, seconds: int) -> None:
    found = len(runner.clients.ready)
    if runner.state == STATE_INIT and found < expected:
        _end_before(
            runner,
            f"{found} of {expected} load workers came within {seconds} s; look at their logs, or wait longer.",
        )


class _Interruption:
    def __init__(self, environment: Any, runner: Any) -> None:
        self._environment = environment
        self._runner = runner

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the main greenlet: Python's handler ends the one that runs, such as a producer."""
        if isinstance(self._runner, MasterRunner) and self._waits:
            _end_before(self._runner, "It was stopped before its load workers came; nothing is measured.")
        else:
            gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    def terminate(self) -> None:
        """As Ctrl-C, while Locust itself does not listen."""
        if self._waits or self._environment.shape_class is not None:
            self.interrupt()

    @property
    def _waits(self) -> bool:
        return bool(self._environment.parsed_options.headless and self._runner.state == STATE_INIT)


def _end_before(runner: Any, sentence: str) -> None:
    """End a master that waits for its load workers, and those that came: Locust would leave them alone for a minute."""
    print(f"load: {sentence}", file=sys.stderr, flush=True)
    runner.quit()
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(EXIT_UNKNOWN))
