"""`harness report compare`: only what exceeds its own spread counts as a change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main


def figures(path: Path, *values: float, name: str = "drain", higher: bool = True) -> Path:
    ordered = sorted(values)
    figure = {
        "name": name,
        "unit": "tasks/s",
        "median": ordered[len(ordered) // 2],
        "values": values,
        "higher_is_better": higher,
    }
    path.write_text(json.dumps({"results": {"x": [figure]}}))
    return path


@pytest.mark.parametrize(
    ("after", "higher", "word", "code"),
    [
        ((200, 210, 220), True, "better", 0),
        ((50, 60, 70), True, "WORSE", 1),
        ((95, 105, 300), True, "same", 0),
        ((200, 210, 220), False, "WORSE", 1),
        ((50, 60, 70), False, "better", 0),
    ],
)
def test_a_change_is_one_where_the_ranges_do_not_overlap(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    after: tuple[float, ...],
    higher: bool,
    word: str,
    code: int,
) -> None:
    old = figures(tmp_path / "old", 90, 100, 110, higher=higher)
    new = figures(tmp_path / "new", *after, higher=higher)
    assert main(["report", "compare", str(old), str(new)]) == code
    assert f"{word} (tasks/s)" in capsys.readouterr().out


def test_figures_that_only_one_file_has_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = figures(tmp_path / "old", 1, name="gone"), figures(tmp_path / "new", 1, name="fresh")
    assert main(["report", "compare", str(old), str(new)]) == 0
    out = capsys.readouterr().out
    assert "only in the first: gone" in out
    assert "only in the second: fresh" in out


@pytest.mark.parametrize("text", [None, "{", "{}", '{"results": {"x": [{"name": "n"}]}}', "[]"])
def test_a_file_without_figures_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    bad = tmp_path / "bad.json"
    if text is not None:
        bad.write_text(text)
    assert main(["report", "compare", str(bad), str(figures(tmp_path / "good", 1))]) == 64
    assert "bench.json" in capsys.readouterr().err
