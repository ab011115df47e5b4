"""Before a load: what it will touch, whether workers serve its queues, and one task of each name as a canary."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from locust import TaskSet
from locust.exception import InterruptTaskSet, RescheduleTask, StopUser

import agentexec as ax
from harness.errors import HarnessError, TargetFailed, UsageError, describe_error, first_line
from harness.load import staging
from harness.load.locust_options import LoadOptions
from harness.load.locust_test import Canaries, LoadPlan
from harness.load.producing import EXPECTED
from harness.load.shape import OpenShape
from harness.load.target import LoadTarget
from harness.load.users import ApiUser, QueueUser
from harness.report import prepare_folder


def queue_users(environment: Any) -> list[Any]:
    """The user classes of a load that enqueue."""
    return [one for one in environment.user_classes if issubclass(one, QueueUser)]


def queues(environment: Any, options: LoadOptions) -> list[str]:
    """The queues of all user classes, each once; raises `UsageError` if one has none."""
    return list(dict.fromkeys(options.queue_of(one.queue) for one in queue_users(environment)))


def weights(environment: Any, runner: Any) -> Mapping[str, float]:
    """The weights of the user classes that have users in this process; of all classes without a runner."""
    counts = None if runner is None else runner.user_classes_count
    return {
        one.__name__: float(one.fixed_count or one.weight)
        for one in queue_users(environment)
        if counts is None or counts.get(one.__name__)
    }


def plan_of(shape: Any, limit: float | None) -> LoadPlan:
    """The plan of a shape that ends after `limit` seconds, None for no limit; raises `UsageError`."""
    if not isinstance(shape, OpenShape):
        return LoadPlan(schedule=None, seconds=None)
    schedule = shape.schedule()
    ends = [end for end in (schedule.seconds, shape.end(limit)) if end is not None]
    return LoadPlan(schedule=schedule, seconds=min(ends, default=None))


class Preflight:
    """The checks before a load, and the sentence that says what it will touch."""

    def __init__(
        self, environment: Any, options: LoadOptions, target: LoadTarget, plan: LoadPlan, run: str
    ) -> None:
        self._environment = environment
        self._options = options
        self._target = target
        self._plan = plan
        self._run = run
        self.clients: dict[str, ax.Client] = {}
        """The clients of the queues, so far."""
        self.canaries = Canaries(self._client, options, plan, run)

    def run(self) -> None:
        """Check everything and wait for the canaries.

        Raises `UsageError` or `TargetFailed` with the reason why the load must not begin, and what the servers raise.
        """
        environment, options = self._environment, self._options
        if not queue_users(environment):
            raise UsageError(
                "No user enqueues: give the file a subclass of QueueUser, or choose it in the page."
            )
        self._require_api()
        names = queues(environment, options)
        for name in names:
            client = self._client(name)
            with client.engine.connect():
                client.redis.ping()
        print(f"load: {self._sentence(names)}", flush=True)
        if options.canary > 0:
            staging.require_workers(self.clients)
            self._send()
            canaries = {task.agent_id: name for (_, name), task in self.canaries.sent.items()}
            staging.await_canaries(self._client(names[0]), canaries, within=options.canary)
        if options.report is not None:
            prepare_folder(options.report)  # not only after the load

    def _client(self, queue: str) -> ax.Client:
        return self.clients.setdefault(queue, self._target.client(queue))

    def _require_api(self) -> None:
        for one in self._environment.user_classes:
            if issubclass(one, ApiUser) and not (one.own_host or self._options.api_url()):
                raise UsageError(
                    f"{one.__name__} needs the address of the status API; give it as --load-api URL."
                )

    def _sentence(self, names: list[str]) -> str:
        seconds = self._plan.seconds
        planned = None if seconds is None else self._plan.planned(seconds)
        amount = "tasks without an end" if planned is None else f"about {planned:,.0f} tasks in {seconds:g} s"
        model = amount if self._plan.schedule is not None else "tasks of a closed model"
        return (
            f"run {self._run}: {model} for the queue {', '.join(map(repr, names))} on {self._target.described}. "
            f"`harness load clean {self._run}` removes them."
        )

    def _send(self) -> None:
        for one in queue_users(self._environment):
            user = one(self._environment)
            for task in _functions(user, user):
                try:
                    task()
                except (StopUser, InterruptTaskSet, RescheduleTask):
                    pass
                except (HarnessError, *EXPECTED):
                    raise
                except Exception as error:  # noqa: BLE001 - code of the user
                    raise TargetFailed(
                        f"A Locust task of {one.__name__} failed: {describe_error(error)}. Correct the locustfile."
                    ) from None


def _functions(user: Any, owner: Any) -> Iterator[Any]:
    """Each Locust task of a user once, ready to be called, also those of nested task sets."""
    for task in dict.fromkeys(owner.tasks):
        if inspect.isclass(task) and issubclass(task, TaskSet):
            yield from _functions(user, task(owner))
        else:
            yield lambda task=task: task(owner)


def refusal(error: BaseException) -> str:
    """The sentence of an error before a load: its own, or one about servers that cannot be used."""
    if isinstance(error, HarnessError):
        return str(error)
    return f"The servers cannot be used: {first_line(error).rstrip('.')}."
