"""The store of outside effects, by activity and fencing token."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.kit.harness_worker.effects import take_effect

IDS_THAT_END_ALIKE = ("007", "1007", "x-007", "a/007", "a 007", "..007")
ON_A_FULL_DISK = """
import pathlib, resource
from harness.kit.harness_worker.effects import take_effect
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
take_effect(pathlib.Path(), activity="a", fence=1)
"""


def test_an_effect_is_taken_once_and_from_no_lower_token(tmp_path: Path) -> None:
    answers = [take_effect(tmp_path, activity="a", fence=fence) for fence in (2, 2, 1, 3, 2)]
    assert answers == [True, False, False, True, False]
    assert take_effect(tmp_path, activity="b", fence=1), "each activity counts by itself"


@given(st.lists(st.integers(0, 9)))
def test_exactly_the_tokens_above_all_before_them_are_taken(
    tmp_path_factory: object, fences: list[int]
) -> None:
    folder: Path = tmp_path_factory.mktemp("effects")  # type: ignore[attr-defined]  # pytest's factory
    answers = [take_effect(folder, activity="a", fence=fence) for fence in fences]
    assert answers == [fence > max(fences[:place], default=-1) for place, fence in enumerate(fences)]


def test_one_token_that_many_use_at_once_is_taken_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for fence in range(40):
            answers = threads.map(lambda _, f=fence: take_effect(tmp_path, activity="a", fence=f), range(8))
            assert sum(answers) == 1


def test_activities_whose_ids_end_alike_share_one_file_and_no_token(tmp_path: Path) -> None:
    for fence in (2, 3):
        answers = [take_effect(tmp_path, activity=name, fence=fence) for name in IDS_THAT_END_ALIKE]
        assert all(answers)
    assert not any(take_effect(tmp_path, activity=name, fence=3) for name in IDS_THAT_END_ALIKE)
    assert len(list(tmp_path.iterdir())) == 1, "a run of many tasks leaves few files to remove"


def test_an_attempt_of_which_only_a_part_is_written_is_an_error(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert "OSError: [Errno 28]" in done.stderr
