"""The figures of the house are within their limits; `python -m tests.house` prints them."""

import pytest

from tests.house.counts import LIMITS, figures, long_code_lines, modules_at_top


@pytest.mark.parametrize("name", LIMITS)
def test_a_figure_is_within_its_limit(name: str) -> None:
    assert figures()[name] <= LIMITS[name]


def test_every_figure_has_a_limit() -> None:
    assert set(figures()) == set(LIMITS)


def test_modules_at_the_top_are_counted_without_folders_and_magic_names() -> None:
    paths = ["a/__init__.py", "a/__main__.py", "a/task.py", "a/store/rows.py", "ab/x.py"]
    assert modules_at_top("a", dict.fromkeys(paths, "")) == ["a.task"]


def test_a_comment_for_a_tool_does_not_make_a_line_too_long() -> None:
    assert long_code_lines("x" * 120 + "\n" + "y" * 121) == 1
    assert long_code_lines("x" * 110 + "  # noqa: S101 - a reason") == 0
    assert long_code_lines("x" * 110 + "  # type: ignore[misc]") == 0
    assert long_code_lines("x" * 110 + "  # a comment for people") == 1
