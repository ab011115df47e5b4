"""The load of the master of Locust: it gives each load worker its part, and collects their figures.

master -> worker   harness-begin     the run, the number of the worker and of all workers
worker -> master   harness-progress  seconds since the worker began the load, and the arrivals that wait for a user
worker -> master   harness-refused   why the worker cannot take part
master -> worker   harness-stop      end the load, wait for its tasks, and answer with harness-figures
worker -> master   harness-figures   the figures of the worker, at the end
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gevent
from locust.runners import STATE_MISSING

from harness.load.figures import Figures
from harness.load.locust_judging import JudgingLoad
from harness.load.locust_options import LoadOptions
from harness.load.locust_run import POLL_SECONDS
from harness.load.locust_test import Assignment, LoadTest
from harness.load.target import LoadTarget

_SILENT_SECONDS = 5.0


class MasterLoad(JudgingLoad):
    """The load of a master."""

    def __init__(self, environment: Any, runner: Any) -> None:
        super().__init__(environment, runner)
        self._parts: dict[str, Assignment] = {}
        self._reported: dict[str, tuple[float, int]] = {}
        self._recent: dict[str, Figures] = {}
        self._heard: dict[str, float] = {}
        self._broken = False
        # Locust may end the process twice at once, and the second end sends the workers away at once.
        self._quit = runner.quit
        runner.quit = self._quit_when_concluded

    def register(self) -> None:
        super().register()
        self.runner.register_message("harness-progress", self._on_progress)
        self.runner.register_message("harness-refused", self._on_refused)
        self.runner.register_message("harness-figures", self._on_figures)

    def progress(self) -> tuple[float, int]:
        alive = [one for one in self._parts if one in self.runner.clients and not self._is_missing(one)]
        found = [self._reported.get(one, (0.0, 0)) for one in alive]
        return min((elapsed for elapsed, _ in found), default=0.0), sum(waiting for _, waiting in found)

    def broken(self) -> bool:
        return self._broken

    def grown(self) -> None:
        # The next growth needs a new report of what still waits.
        self._reported = {worker: (since, 0) for worker, (since, _) in self._reported.items()}

    def recent(self) -> Sequence[Figures]:
        return list(self._recent.values())

    def processes(self) -> Mapping[str, Assignment]:
        return self._parts

    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        self._parts, self._reported, self._recent, self._heard, self._broken = {}, {}, {}, {}, False
        whole = self.planned(options, target)
        clients = self.runner.clients
        ready = [*clients.ready, *clients.running, *clients.spawning]
        for number, client in enumerate(ready):
            self._parts[client.id] = replace(whole, shard=number, shards=len(ready))
            self._heard[client.id] = time.monotonic()
            self.runner.send_message("harness-begin", self._parts[client.id].to_value(), client.id)

    def collect(self, test: LoadTest | None) -> None:  # noqa: ARG002 - a master has no load of its own
        deadline = time.monotonic() + self.patience()
        if silent := [client for client in self._parts if self._is_missing(client)]:
            self.gaps.append(f"the master lost contact with {len(silent)} load workers")
        for client in self._parts:
            self.runner.send_message("harness-stop", None, client)
        patience = time.monotonic() + _SILENT_SECONDS  # for workers that a busy machine made silent
        while (missing := [one for one in self._parts if one not in self.figures]) and (
            time.monotonic() < patience
            or (time.monotonic() < deadline and not all(map(self._is_missing, missing)))
        ):
            gevent.sleep(POLL_SECONDS)

    def _quit_when_concluded(self) -> None:
        self.runner.stop(send_stop_to_client=False)
        self.stop()
        self._quit()

    def _is_missing(self, client: str) -> bool:
        """Whether a load worker has stopped to send messages: Locust forgets those that stop, quit or are silent."""
        if (node := self.runner.clients.get(client)) is not None:
            return bool(node.state == STATE_MISSING)
        return time.monotonic() - self._heard[client] > _SILENT_SECONDS

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._heard[msg.node_id] = time.monotonic()
        self._broken |= msg.data["broken"]
        self._reported[msg.node_id] = (float(msg.data["elapsed"]), int(msg.data["waiting"]))
        if "recent" in msg.data:
            self._recent[msg.node_id] = Figures.from_value(msg.data["recent"])

    def _on_refused(self, msg: Any, **_: Any) -> None:
        self.gaps.append(f"a load worker cannot take part: {msg.data['sentence']}")
        self._parts.pop(msg.node_id, None)
        self.end_test()

    def _on_figures(self, msg: Any, **_: Any) -> None:
        if msg.data["run"] == self.run:
            self.figures[msg.node_id] = (Figures.from_value(msg.data["figures"]), float(msg.data["seconds"]))
