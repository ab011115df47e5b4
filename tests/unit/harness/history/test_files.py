"""Missing lines of a history are detected, wherever its files were cut, with the line in question."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checkers import evidence
from harness.checkers.base import Verdict
from harness.history import History, Operation, OperationType, Recorder, seal, uncollected

OPERATIONS = [
    Operation(time=n, process=f"worker-{n % 3}", type=OperationType.OK, f="run", value={"task": n})
    for n in range(12)
]
PLAIN = "".join(op.to_json() + "\n" for op in OPERATIONS)


def saved(folder: Path) -> Path:
    History.of(OPERATIONS).save(folder / "h.jsonl")
    return folder / "h.jsonl"


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def verdict(path: Path) -> Verdict:
    return evidence()(History.load(path)).verdict


@pytest.mark.parametrize("kept", range(len(OPERATIONS) + 2))
def test_a_history_cut_after_any_line_is_unknown_with_the_place(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path)
    path.write_bytes(b"".join(lines_of(path)[:kept]))
    history = History.load(path)
    assert verdict(path) is Verdict.UNKNOWN
    assert history.problems[0].startswith(
        f"h.jsonl:{kept} is the last line, but line 1 announces 12" if kept else str(path)
    )


@pytest.mark.parametrize("lost", range(1, len(OPERATIONS) + 2))
def test_a_saved_history_without_any_one_of_its_later_lines_is_unknown(tmp_path: Path, lost: int) -> None:
    path = saved(tmp_path)
    lines = lines_of(path)
    path.write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    assert verdict(path) is Verdict.UNKNOWN


@pytest.mark.parametrize("lost", [1, 2, 5, 12])
def test_a_saved_history_without_its_first_lines_is_unknown(tmp_path: Path, lost: int) -> None:
    path = saved(tmp_path)
    path.write_bytes(b"".join(lines_of(path)[lost + 1 :]))
    [problem, *_] = History.load(path).problems
    assert problem.startswith(
        f"h.jsonl:{13 - lost} ends a history of 12 operations, but {12 - lost} lines come before"
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text + OPERATIONS[0].to_json() + "\n", "h.jsonl:15 follows the end of the history"),
        (lambda text: text + text, "h.jsonl:15 begins another history"),
        (lambda text: text.replace('"operations":12', '"operations":"12"', 1), "h.jsonl:1 is the begin of a"),
        (lambda text: text[:-1], "h.jsonl:14 is cut off"),
        (lambda text: text[: len(text) // 2], "is cut off"),
    ],
)
def test_a_changed_history_is_reported_with_the_line(
    tmp_path: Path, change: Callable[[str], str], complaint: str
) -> None:
    path = saved(tmp_path)
    path.write_text(change(path.read_text()))
    assert any(complaint in problem for problem in History.load(path).problems)
    assert verdict(path) is Verdict.UNKNOWN


def test_a_cut_is_seen_where_many_lines_are_read_at_once(tmp_path: Path) -> None:
    many = [Operation(time=n, process="p", type=OperationType.OK, f="run") for n in range(5000)]
    History.of(many).save(tmp_path / "h.jsonl")
    assert History.load(tmp_path / "h.jsonl") == History.of(many)
    lines = lines_of(tmp_path / "h.jsonl")
    for kept in (2047, 2048, 2049, 5001):
        (tmp_path / "h.jsonl").write_bytes(b"".join(lines[:kept]))
        [problem] = History.load(tmp_path / "h.jsonl").problems
        assert problem.startswith(f"h.jsonl:{kept} is the last line")


def test_a_history_from_before_there_were_marks_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl").write_text(PLAIN)
    assert History.load(tmp_path / "old.jsonl") == History.of(OPERATIONS)


def test_the_marks_are_lines_that_an_older_reader_takes_for_operations(tmp_path: Path) -> None:
    read = [Operation.from_json(line) for line in lines_of(saved(tmp_path))]
    assert read[1:-1] == OPERATIONS
    assert [(op.process, op.f, op.value) for op in (read[0], read[-1])] == [
        ("history", "begin", {"operations": 12}),
        ("history", "end", {"operations": 12}),
    ]


def recorded(folder: Path) -> Path:
    for process in ("client", "worker-7"):
        recorder = Recorder(folder / f"{process}.jsonl", process=process)
        for task in range(3):
            recorder.record(OperationType.OK, "run", task=task)
        recorder.close()
    return folder


@pytest.mark.parametrize("kept", range(3))
def test_a_file_of_a_sealed_folder_that_was_cut_after_any_line_is_unknown(tmp_path: Path, kept: int) -> None:
    seal(recorded(tmp_path))
    assert verdict(tmp_path) is Verdict.VALID
    path = tmp_path / "worker-7.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:kept]))
    assert History.load(tmp_path).problems == (
        f"worker-7.jsonl:{kept} is the last whole line: the file had 3 lines when the run ended",
    )
    assert verdict(tmp_path) is Verdict.UNKNOWN


def test_a_line_that_its_killed_writer_left_unfinished_does_not_break_the_seal(tmp_path: Path) -> None:
    with (recorded(tmp_path) / "worker-7.jsonl").open("ab") as file:
        file.write(b'{"time":1,"pro')
    seal(tmp_path)
    assert History.load(tmp_path).problems == (
        "worker-7.jsonl:4 is cut off: its writer ended while writing it",
    )


def test_files_that_are_missing_grew_or_came_later_break_the_seal(tmp_path: Path) -> None:
    seal(recorded(tmp_path))
    (tmp_path / "worker-7.jsonl").rename(tmp_path / "other.jsonl")
    with (tmp_path / "client.jsonl").open("a") as file:
        file.write(OPERATIONS[0].to_json() + "\n")
    assert History.load(tmp_path).problems == (
        "client.jsonl:4 is past the last line of the run: the file had 3 lines when the run ended",
        "worker-7.jsonl is missing: seal.json lists it with 3 lines",
        "other.jsonl was added after the run had ended: seal.json does not list it",
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"lines": 3}', '{"lines": {"a": "b"}}', '{"lines": {"a": 1e999}}', "\xff"]
)
def test_a_seal_that_cannot_be_read_is_a_problem_and_no_crash(tmp_path: Path, text: str) -> None:
    (recorded(tmp_path) / "seal.json").write_text(text, encoding="latin-1")
    [problem] = History.load(tmp_path).problems
    assert problem.startswith("seal.json cannot be read")


def test_a_folder_without_a_seal_is_read_as_it_is(tmp_path: Path) -> None:
    assert History.load(recorded(tmp_path)).problems == ()


def test_a_seal_has_the_number_of_lines_of_each_file(tmp_path: Path) -> None:
    seal(recorded(tmp_path))
    assert json.loads((tmp_path / "seal.json").read_text()) == {
        "lines": {"client.jsonl": 3, "worker-7.jsonl": 3}
    }


def test_objects_built_without_the_collector_are_not_in_its_next_collection() -> None:
    with uncollected():
        built = [[n] for n in range(10)]
    gc.disable()
    try:
        young = [id(one) for one in gc.get_objects(generation=0)]
    finally:
        gc.enable()
    assert not {id(one) for one in built} & {*young}


def test_what_other_code_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        assert gc.get_freeze_count() > 0
        with uncollected():
            pass
        # Thawing leaves none. Not all of before need be there: another thread may have let go of some meanwhile.
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
