"""Tasks with features, and the client that cancels them and submits them again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import TargetFailed
from harness.history import History, OperationType, Recorder
from harness.targets.base import Submission, TaskFeature, TaskSpec
from harness.workloads.varied_tasks import VariedClient, VariedTasks


def features(task: TaskSpec) -> list[TaskFeature]:
    having = {
        TaskFeature.FAILS: task.fails,
        TaskFeature.DELAY: task.delay,
        TaskFeature.CANCEL: task.cancel_after is not None,
        TaskFeature.KEY: task.key,
    }
    return [feature for feature, has in having.items() if has]


def test_a_task_has_one_feature_at_most_and_all_occur() -> None:
    tasks = [one.task for one in VariedTasks().generator(seed=3, tasks=400, gated=(7, 8, 9))]
    found = Counter(tuple(features(task)) for task in tasks)
    assert set(found) == {(), *((one,) for one in TaskFeature)}
    assert not any(features(task) for task in tasks if task.gate)
    assert tasks == [one.task for one in VariedTasks().generator(seed=3, tasks=400, gated=(7, 8, 9))]


class Session:
    """A target that accepts the cancels of some activities, or fails at each."""

    def __init__(self, accepted: Sequence[str], *, fails: bool = False) -> None:
        self.accepted, self.fails = accepted, fails
        self.submitted: list[int] = []
        self.waits = threading.Event()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        self.submitted += [task.number for task in tasks]
        return [Submission(number=task.number, activity=f"a{task.number}") for task in tasks]

    def cancel(self, activities: Sequence[str]) -> Sequence[str]:
        self.waits.wait(30)
        if self.fails:
            raise TargetFailed("agentexec could not cancel: no answer. See the logs of the servers.")
        return [one for one in activities if one in self.accepted]

    def unfinished(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("session", "outcome"),
    [
        (Session(["a1"]), OperationType.OK),
        (Session([]), OperationType.FAIL),
        (Session([], fails=True), OperationType.INFO),
    ],
)
def test_a_cancel_is_recorded_and_the_drain_waits_for_it(
    session: Any, outcome: OperationType, tmp_path: Path, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    client = VariedClient(session, Recorder(tmp_path / "client.jsonl", process="client"))
    client.submit([TaskSpec(number=1, cancel_after=0.0), TaskSpec(number=2)])
    assert client.unfinished() == 1
    session.waits.set()
    assert eventually(lambda: client.unfinished() == 0)
    canceled = list(History.load(tmp_path).where("cancel"))
    assert [one.type for one in canceled] == [OperationType.INVOKE, outcome]
    assert {one.value["activity"] for one in canceled} == {"a1"}


def test_a_task_with_a_key_is_submitted_twice(tmp_path: Path) -> None:
    session: Any = Session([])
    recorder = Recorder(tmp_path / "client.jsonl", process="client")
    VariedClient(session, recorder).submit([TaskSpec(number=1, key="k"), TaskSpec(number=2)])
    assert session.submitted == [1, 2, 1]
    requests = list(History.load(tmp_path).where("enqueue", OperationType.INVOKE))
    assert [one.value.get("key") for one in requests] == ["k", None, "k"]
