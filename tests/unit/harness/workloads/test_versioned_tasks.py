"""The workload of two versions, as a pure function of its seed."""

from __future__ import annotations

from harness.workloads.versioned_tasks import VersionedTasks


def test_the_same_seed_gives_the_same_versions_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[object]:
        return list(VersionedTasks().generator(seed=seed, tasks=100, gated=()))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_task_at_a_gate_is_one_that_every_version_knows() -> None:
    workload = VersionedTasks(new=1.0)
    first = list(workload.generator(seed=3, tasks=100, gated=(5, 6)))
    last = list(workload.final_generator(seed=3, tasks=100))
    assert [one.task.number for one in (*first, *last)] == list(range(1, 101))
    assert [one.task.number for one in (*first, *last) if one.task.version == 1] == [5, 6]


def test_the_share_is_that_which_was_asked_for() -> None:
    tasks = [one.task for one in VersionedTasks(new=0.3).generator(seed=1, tasks=2000, gated=())]
    assert 0.25 < sum(task.version == 2 for task in tasks) / len(tasks) < 0.35
