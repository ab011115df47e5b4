"""The store of outside effects, by activity and fencing token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.kit.harness_worker.effects import take_effect


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
