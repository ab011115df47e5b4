"""The figures of a mutation run, from what mutmut wrote down."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.mutation import discard_unfinished, generates, score_of, scores, table

ROOT = Path(__file__).parents[3]


def test_a_score_counts_only_finished_mutants_and_shows_the_others() -> None:
    score = score_of("a.py", [1, 1, 3, -24, 0, 33, None, 2])
    assert (score.noticed, score.survived, score.unreached, score.waiting) == (4, 1, 1, 2)
    assert score.timed_out == 1
    assert score.judged == 6
    assert score.percent is not None
    assert round(score.percent) == 67


def test_a_module_of_which_nothing_was_judged_has_no_score(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    notes = {"exit_code_by_key": {"room.a.x_f__mutmut_1": None}}
    (tmp_path / "room" / "a.py.meta").write_text(json.dumps(notes))
    (tmp_path / "room" / "b.py.meta").write_text(json.dumps({"exit_code_by_key": {}}))
    (score,) = scores(tmp_path)
    assert score.percent is None
    assert table([score]).splitlines()[-1] == "| `room/a.py` | 0 | 0 | 0 | 0 | 0 | 1 |  |"


def test_every_test_of_the_checkers_and_of_the_queue_is_shown_the_mutants() -> None:
    """mutmut takes no patterns: it does not run a file that is not in its list, and the score is too low."""
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    listed = set(chosen["pytest_add_cli_args_test_selection"])
    patterns = ("unit/harness/checkers/test_*.py", "conformance/test_queue*.py", "properties/test_queue*.py")
    for pattern in patterns:
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob(pattern)}
        assert wanted, pattern
        assert wanted <= listed
    assert {name for name in listed if not (ROOT / name).is_file()} == set()


def test_half_written_mutants_are_written_again_and_finished_ones_kept(tmp_path: Path) -> None:
    judged, by_half = tmp_path / "judged", tmp_path / "half"
    for folder in (judged, by_half):
        folder.mkdir()
    (judged / "mutmut-stats.json").write_text("{}")
    for folder in (judged, by_half, tmp_path / "none"):
        discard_unfinished(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["judged"]


def test_the_tests_that_generate_their_examples_come_after_the_others() -> None:
    paths = [
        "tests/properties/test_queue_machine.py",
        "tests/unit/harness/checkers/test_properties.py",
        "tests/a.py",
    ]
    assert [generates(Path(path)) for path in paths] == [True, True, False]
