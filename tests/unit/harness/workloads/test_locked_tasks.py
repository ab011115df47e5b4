"""The workload of lock keys and priorities, as a pure function of its seed."""

from __future__ import annotations

from collections import Counter

from harness.workloads.locked_tasks import LockedTasks


def test_the_same_seed_gives_the_same_keys_and_priorities_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[object]:
        return list(LockedTasks().generator(seed=seed, tasks=100, gated=()))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_both_generators_together_make_every_task_and_gates_change_no_key() -> None:
    workload = LockedTasks()
    first = list(workload.generator(seed=3, tasks=100, gated=(5, 6)))
    last = list(workload.final_generator(seed=3, tasks=100))
    assert [one.task.number for one in (*first, *last)] == list(range(1, 101))
    open_gates = list(workload.generator(seed=3, tasks=100, gated=()))
    assert [(a.task.lock, a.task.priority) for a in first] == [
        (a.task.lock, a.task.priority) for a in open_gates
    ]


def test_the_shares_are_those_that_were_asked_for() -> None:
    tasks = [one.task for one in LockedTasks(keys=4).generator(seed=1, tasks=2000, gated=())]
    keys = Counter(task.lock for task in tasks)
    assert set(keys) == {None, "key-0", "key-1", "key-2", "key-3"}
    assert 0.45 < keys[None] / len(tasks) < 0.55
    assert 0.55 < sum(task.priority == "high" for task in tasks) / len(tasks) < 0.65
