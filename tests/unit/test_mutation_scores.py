"""The figures of a mutation run, from what mutmut wrote down."""

from __future__ import annotations

import json
from pathlib import Path

from tests.mutation import score_of, scores, table


def test_a_score_counts_only_what_was_judged_and_says_how_much_was_not() -> None:
    score = score_of("a.py", [1, 1, 3, -24, 0, 33, None, 2])
    assert (score.noticed, score.survived, score.unreached, score.waiting) == (4, 1, 1, 2)
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
    assert table([score]).splitlines()[-1] == "| `room/a.py` | 0 | 0 | 0 | 0 | 1 |  |"
