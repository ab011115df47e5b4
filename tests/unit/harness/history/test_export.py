"""An export of a production system, as `harness check --export` reads and judges it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.history.export import read_export
from harness.run.judging import judge_export

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
        ("name\nx\n", "wrong.csv begins with 'name'; begin with the names of the columns"),
        ('{"id": "a"\n', "row 1: is not JSON"),
        ('{"activity_id": "a", "fence": 0, "n": 0, "status": "queued", "at": "now"}\n', "its at is 'now'"),
        ("activity_id,fence,n,status,at\na,0,0,queued,Infinity\n", "its at is 'Infinity'"),
        ('{"activity_id": "a", "fence": 1.5, "n": 0, "status": "queued"}\n', "its fence is 1.5"),
        (f"id,status,attempt,fence,x\na,queued,0,0,{'x' * 200_000}\n", "wrong.csv is no file of CSV"),
        ('id,status,attempt,fence,x\na,queued,0,0,"cut', "wrong.csv is no file of CSV"),
        ("\x1f\udc8b\x08", "unpack a compressed file"),
        ("a,queued,0,0\nb,queued,0,0\n", "wrong.csv begins with 'a,queued,0,0'; begin with the names of"),
        ("id;status;attempt;fence\na;queued;0;0\n", "begins with 'id;status;attempt;fence'"),
        ("id,status,status,attempt,fence\na,error,queued,0,0\n", "begins with 'id,status,status"),
        ('[{"id": "a", "status": "queued", "attempt": 0, "fence": 0}]\n', "begins with '[{"),
        ("id,status,attempt,fence\na,queued,0\n", "row 2: it has 3 values for 4 columns"),
        ("id,status,attempt,fence\na,queued,0,0,9\n", "row 2: it has 5 values for 4 columns"),
        ("id,status,attempt,fence\na,queued,0,1_0\n", "its fence is '1_0'; write a whole number"),
        (f"id,status,attempt,fence\na,queued,0,{'9' * 5000}\n", f"its fence is '{'9' * 79}...; write"),
        ("id,status,attempt,fence\na,done,0,0\n", "its status is 'done'; write one of queued, running,"),
        ("id,status,attempt,fence\na,queued,0,0\na,error,0,0\n", "row 3: an earlier row is the same"),
        ("activity_id,fence,n,status\na,0,0,queued\na,0,0,queued\n", "row 3: an earlier row is the same"),
        ("activity_id,fence,n,status\na,0,0,queued\n", "1 activity without a row of activities, such as 'a'"),
        ("activity_id,fence,n,status,at\na,0,0,queued,1e300\n", "its at is '1e300'; write seconds"),
        (
            '{"id": {"a": 1}, "status": "queued", "attempt": 0, "fence": 0}\n',
            "its id is {'a': 1}; write a text",
        ),
        ('{"id": "a", "status": ["queued"], "attempt": 0, "fence": 0}\n', "its status is ['queued']; write"),
        ('{"id": "a", "status": "error", "status": "queued"}\n', "row 1: it has two values of one name"),
        ('{"a":' * 100_000 + "\n", "row 1: is nested too deep to be read"),
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


def test_an_export_may_come_through_a_pipe_with_a_mark_and_lines_of_another_system(
    tmp_path: Path,
) -> None:
    text = '\ufeff\r\nid,status,attempt,fence,note\r\na,complete,1, 7,"two\r\nlines"\r\n\r\n'
    read_end, write_end = os.pipe()
    os.write(write_end, text.encode())
    os.close(write_end)
    lines = tmp_path / "log.jsonl"
    rows = [{"activity_id": "a", "fence": fence, "n": n, "status": status} for status, fence, n in LOG]
    lines.write_text("\n" + "\n".join(map(json.dumps, rows)), "utf-8")
    try:
        history = read_export([Path(f"/dev/fd/{read_end}"), lines])
    finally:
        os.close(read_end)
    assert judge_export(history).results["protocol"].summary.startswith("5 steps of 1 activity, as the model")


def test_a_record_without_a_log_is_a_broken_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(log_csv(tmp_path, *LOG)), str(json_lines(tmp_path, record(), record(id="b")))]
    assert cli.main(["check", "--export", *files]) == 1
    assert "the record, complete in the state not enqueued: it has no log" in capsys.readouterr().out


def test_an_export_is_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in (
        (["check"], "Name either a HISTORY, or the files of an export"),
        (["check", "--export", "/nowhere"], "/nowhere cannot be read"),
        (["check", "--export", str(log_csv(tmp_path)), "--html", "x"], "--html is for a history"),
    ):
        assert cli.main(command) == 64
        assert words in capsys.readouterr().err
    assert cli.main(["check", "--export", str(log_csv(tmp_path))]) == 2
