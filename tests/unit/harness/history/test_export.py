"""An export of a production system, as `harness check --export` reads and judges it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.history.export import read_export

LOG = [("queued", 0, 0), ("running", 7, 0), ("running", 7, 1), ("complete", 7, 2)]


def log_csv(folder: Path, *rows: tuple[str, int, int], activity: str = "a") -> Path:
    path = folder / f"log-{activity}.csv"
    lines = [f"{activity},{fence},{n},{status},,1764240000.25" for status, fence, n in rows]
    path.write_text("\n".join(["activity_id,fence,n,status,percentage,at", *lines, ""]), "utf-8")
    return path


def json_lines(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), ""]), "utf-8")
    return path


def record(**value: Any) -> dict[str, Any]:
    return {"id": "a", "status": "complete", "attempt": 1, "fence": 7} | value


def test_rows_of_both_formats_are_one_history(tmp_path: Path) -> None:
    history = read_export([json_lines(tmp_path, record(), record(id="b")), log_csv(tmp_path, *LOG)])
    assert [(op.f, op.value["task"], op.value["activity"]) for op in history] == [
        *[("transition", 1, "a")] * 4,
        ("record", 1, "a"),
        ("record", 2, "b"),
    ]
    assert history.operations[0].value["at"] == 1_764_240_000.25


@pytest.mark.parametrize(
    ("rows", "wanted", "code", "words"),
    [
        (LOG, record(), 0, "5 steps of 1 activity, as the model"),
        (LOG[:3], record(status="running"), 0, "4 steps of 1 activity"),
        (LOG[:1], record(status="queued", attempt=0, fence=0), 0, "2 steps"),
        (
            LOG,
            record(attempt=2),
            1,
            "the record, with attempt 2 in the state complete under fence 7, 1 started",
        ),
        ([*LOG, ("running", 8, 0)], record(), 1, "running under fence 8, row 0, in the state complete"),
        (LOG, record(id="b"), 1, "the record, complete in the state not enqueued: it has no log"),
    ],
)
def test_the_first_step_that_the_model_forbids_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[tuple[str, int, int]],
    wanted: dict[str, Any],
    code: int,
    words: str,
) -> None:
    files = [str(log_csv(tmp_path, *rows)), str(json_lines(tmp_path, wanted))]
    assert cli.main(["check", "--export", *files]) == code
    output = capsys.readouterr().out
    assert words in output
    assert "an export holds no submissions, runs or faults" in output
    assert '"task"' not in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("activity_id,fence,n,status\na,x,0,queued\n", "wrong.csv, row 2: its fence is 'x'"),
        ("activity_id,fence,n,status\na,1,0,\n", "row 2: it has no status; a row of the log has activity_id"),
        ("name\nx\n", "row 2: it has no id and no status and no attempt and no fence"),
        ('{"id": "a"\n', "row 1: is not JSON"),
        ('{"activity_id": "a", "fence": 0, "n": 0, "status": "queued", "at": "now"}\n', "its at is 'now'"),
        ("activity_id,fence,n,status,at\na,0,0,queued,Infinity\n", "its at is 'Infinity'"),
        ('{"activity_id": "a", "fence": 1.5, "n": 0, "status": "queued"}\n', "its fence is 1.5"),
        (f"id,status,attempt,fence,x\na,queued,0,0,{'x' * 200_000}\n", "wrong.csv is no file of CSV"),
        ("id,status,attempt,fence\n\udcff,queued,0,0\n", "wrong.csv is no file of CSV"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cli.main(["check", "--export", str(path)]) == 64
    assert words in capsys.readouterr().err


def test_an_export_is_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in (
        (["check"], "Name either a HISTORY, or the files of an export"),
        (["check", "--export", "/nowhere"], "/nowhere cannot be read"),
        (["check", "--export", str(log_csv(tmp_path)), "--html", "x"], "--html is for a history"),
    ):
        assert cli.main(command) == 64
        assert words in capsys.readouterr().err
    assert cli.main(["check", "--export", str(log_csv(tmp_path))]) == 2
