"""The load of the master of Locust: it gives each load worker its part, and collects their figures.

master -> worker   harness-begin     the run, the number of the worker and of all workers
worker -> master   harness-came      the worker came while a load runs; the answer is harness-begin
worker -> master   harness-ready     it has its users and its connections, and can join
master -> worker   harness-join      a worker joins: to all, with the second from which on it has a part of the rest
worker -> master   harness-progress  seconds since the worker began the load, and the arrivals that wait for a user
worker -> master   harness-refused   why the worker cannot take part
worker -> master   harness-leaves    the worker is stopped from outside
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
# A process that joins has a part from so many seconds later on: until then all others know.
_JOIN_SECONDS = 3.0


class MasterLoad(JudgingLoad):
    """The load of a master."""

    def __init__(self, environment: Any, runner: Any) -> None:
        super().__init__(environment, runner)
        self._parts: dict[str, Assignment] = {}
        self._reported: dict[str, tuple[float, int]] = {}
        self._recent: dict[str, Figures] = {}
        self._heard: dict[str, float] = {}
        self._broken = False
        self._whole: Assignment | None = None
        self._size = 0
        self._offered: dict[str, Assignment] = {}
        self._joining: list[str] = []
        # Locust may end the process twice at once, and the second end sends the workers away at once.
        self._quit = runner.quit
        runner.quit = self._quit_when_concluded

    def register(self) -> None:
        super().register()
        self.runner.register_message("harness-progress", self._on_progress)
        self.runner.register_message("harness-came", self._on_came)
        self.runner.register_message("harness-ready", self._on_ready)
        self.runner.register_message("harness-leaves", self._on_leaves)
        self.runner.register_message("harness-refused", self._on_refused)
        self.runner.register_message("harness-figures", self._on_figures)

    def progress(self) -> tuple[float, int]:
        alive = [one for one in self._parts if one in self.runner.clients and not self._is_missing(one)]
        found = [self._reported.get(one, (0.0, 0)) for one in alive]
        return min((elapsed for elapsed, _ in found), default=0.0), sum(waiting for _, waiting in found)

    def broken(self) -> bool:
        return self._broken

    def has_newcomer(self) -> bool:
        return any(client.id not in self._parts for client in self.runner.clients.ready)

    def grown(self) -> None:
        # The next growth needs a new report of what still waits.
        self._reported = {worker: (since, 0) for worker, (since, _) in self._reported.items()}

    def recent(self) -> Sequence[Figures]:
        return list(self._recent.values())

    def processes(self) -> Mapping[str, Assignment]:
        return self._parts

    def prepare(self, options: LoadOptions, target: LoadTarget) -> None:
        self._parts, self._reported, self._recent, self._heard, self._broken = {}, {}, {}, {}, False
        self._offered, self._joining = {}, []
        whole = self._whole = self.planned(options, target)
        clients = self.runner.clients
        ready = [*clients.ready, *clients.running, *clients.spawning]
        self._size = len(ready)
        for number, client in enumerate(ready):
            self._parts[client.id] = replace(whole, shard=number, shards=len(ready))
            self._heard[client.id] = time.monotonic()
            self.runner.send_message("harness-begin", self._parts[client.id].to_value(), client.id)

    def collect(self, test: LoadTest | None) -> None:  # noqa: ARG002 - a master has no load of its own
        deadline = time.monotonic() + self.patience()
        if silent := [client for client in self._parts if self._is_missing(client)]:
            self.gaps.append(f"the master lost contact with {len(silent)} load workers")
        self._whole = None
        for client in {*self._parts, *(one.id for one in self.runner.clients.all)}:
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
        # What a process reported before it joined may come after that.
        elapsed = max(float(msg.data["elapsed"]), self._reported.get(msg.node_id, (0.0, 0))[0])
        self._reported[msg.node_id] = (elapsed, int(msg.data["waiting"]))
        while self._joining and self.progress()[0]:
            self._join(self._joining.pop())
        if "recent" in msg.data:
            self._recent[msg.node_id] = Figures.from_value(msg.data["recent"])

    def _on_came(self, msg: Any, **_: Any) -> None:
        if self._whole is not None:
            self._size += 1
            second = self.progress()[0]
            part = replace(self._whole, shard=self._size - 1, shards=self._size, joins=second)
            self._offered[msg.node_id] = part
            self.runner.send_message("harness-begin", part.to_value(), msg.node_id)

    def _on_ready(self, msg: Any, **_: Any) -> None:
        self._joining.append(msg.node_id)

    def _join(self, client: str) -> None:
        """Let a load worker that is ready have its part of the arrivals to come."""
        now = time.monotonic()
        elapsed = max(self._reported[one][0] + now - self._heard[one] for one in self._parts)
        part = self._parts[client] = self._offered[client]
        self._reported[client], self._heard[client] = (elapsed, 0), now
        since = elapsed + _JOIN_SECONDS
        print(
            f"load: The load worker {part.label} joins; it has a part from second {since:.1f} on.", flush=True
        )
        message = {"client": client, "elapsed": elapsed, "since": since, "size": part.shards}
        for one in self._parts:
            self.runner.send_message("harness-join", message, one)

    def _on_leaves(self, msg: Any, **_: Any) -> None:
        if msg.node_id in self._parts and not self.ended:
            print(
                f"load: The load worker {self._parts[msg.node_id].label} was stopped; the load ends.",
                flush=True,
            )
            self.end_test()

    def _on_refused(self, msg: Any, **_: Any) -> None:
        if msg.node_id not in self._parts:
            print(f"load: A load worker that came late is left out: {msg.data['sentence']}", flush=True)
            self.runner.send_message("quit", None, msg.node_id)
            return
        self.gaps.append(f"a load worker cannot take part: {msg.data['sentence']}")
        self._parts.pop(msg.node_id, None)
        self.end_test()

    def _on_figures(self, msg: Any, **_: Any) -> None:
        if msg.data["run"] != self.run:
            return
        figures = Figures.from_value(msg.data["figures"])
        if msg.node_id in self._parts or figures.accounting.due:  # else it has not joined before the end
            self.figures[msg.node_id] = (figures, float(msg.data["seconds"]))
