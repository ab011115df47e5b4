"""The target of agentexec with a planted defect: its pools run `tests.planted.pool`.

`harness chaos run NAME --target tests.planted.target:DESTRUCTIVE_POP` and so on, one value for each defect.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import UUID

import agentexec as ax
from agentexec.queue.protocol import Admission
from harness.environments.base import Endpoints
from harness.history.promises import Promises, RetryPauses
from harness.targets.agentexec_target import IMPORTS, AgentexecSession, worker_command
from harness.targets.base import Submission, TargetSettings, TaskFeature, TaskSpec
from harness.targets.promised import everything
from harness.targets.subprocess_pool import SubprocessPool
from tests.planted.defect import Defect
from tests.planted.defects import DEFECTS, EVERY
from tests.planted.in_force import VARIABLE

POOL = "tests.planted.pool:pool"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """What a run does besides plain tasks, so that a defect can show.

    `failing`: every fourth task fails once. `cancels`: each submission also cancels the task that was submitted so many
    before it, whatever its state (0: none). `resend`: the queue receives every dispatch twice. `environment`: variables
    of the pools.
    """

    failing: bool = False
    resend: bool = False
    cancels: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


class PlantedSession(AgentexecSession):
    """The session of the reference target, with the defect in this process too, where the producer runs."""

    def __init__(
        self, endpoints: Endpoints, settings: TargetSettings, defect: Defect | None, variation: Variation
    ) -> None:
        self._defect = defect
        self._variation = variation
        self._submitted: list[str] = []
        self._order = threading.Lock()  # many clients submit at once
        self._planted = ExitStack()
        if defect is not None:
            self._planted.enter_context(defect.planted())
        super().__init__(endpoints, settings)
        if variation.resend:
            enqueue = self._client.queue.enqueue

            def twice(*arguments: Any, **options: Any) -> list[Admission]:
                enqueue(*arguments, **options)
                return enqueue(*arguments, **options)

            self._planted.enter_context(patch.object(self._client.queue, "enqueue", twice))

    def start_pool(self) -> SubprocessPool:
        self._pools += 1
        planted = {} if self._defect is None else {VARIABLE: self._defect.name}
        failing = {"PLANTED_FAILING": "1"} if self._variation.failing else {}
        return SubprocessPool.start(
            worker_command(POOL, self._settings),
            environment=self.environment() | planted | failing | dict(self._variation.environment),
            settings=self._settings,
            name=f"pool-{self._pools}",
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        answers = super().submit(tasks)
        with self._order:
            self._submitted += [answer.activity for answer in answers if answer.activity is not None]
            last = len(self._submitted) - self._variation.cancels
            chosen = self._submitted[max(0, last - len(answers)) : max(0, last)]
        if self._variation.cancels:
            self._client.cancel([UUID(activity) for activity in chosen])
        return answers

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._planted.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedTarget:
    """agentexec with a defect, or without one where `defect` is None."""

    defect: Defect | None = None
    variation: Variation = field(default_factory=Variation)
    features: tuple[TaskFeature, ...] = tuple(TaskFeature)
    imports: ClassVar[tuple[str, ...]] = IMPORTS

    @property
    def name(self) -> str:
        return "agentexec" if self.defect is None else self.defect.name

    def version(self) -> str:
        return ax.__version__ if self.defect is None else f"{ax.__version__} with a planted bug"

    def promises(self, settings: TargetSettings) -> Promises:
        """Those of agentexec, with the pauses before retries that the variation sets."""
        made, environment = everything(settings), self.variation.environment
        if "AGENTEXEC_RETRY_BASE_SECONDS" not in environment:
            return made
        base, cap = (float(environment[f"AGENTEXEC_RETRY_{name}_SECONDS"]) for name in ("BASE", "CAP"))
        return replace(made, retry_pauses=RetryPauses(base=base, cap=cap))

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> PlantedSession:
        session = PlantedSession(endpoints, settings, self.defect, self.variation)
        session.prepare()
        return session


for _name, _defect in EVERY.items():  # the names that --target can use
    globals()[_name.upper().replace("-", "_")] = PlantedTarget(defect=_defect)

# The comparison of queue and record would bring back what a defect loses, half a minute later.
ACK_BEFORE_RUN_UNRECONCILED = PlantedTarget(
    defect=DEFECTS["ack-before-run"], variation=Variation(environment={"AGENTEXEC_RECONCILE_SECONDS": "600"})
)
