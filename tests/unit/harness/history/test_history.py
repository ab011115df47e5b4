from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import History, Operation, OperationType, Recorder
from harness.history.operation import LAST_TIME

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def an(f: str = "run", *, at: int = 0, process: str = "worker-1") -> Operation:
    return Operation(time=at, process=process, type=OperationType.OK, f=f, value={"task": 1})


@given(
    st.builds(
        Operation,
        time=st.integers(-LAST_TIME, LAST_TIME),
        process=st.text(),
        type=st.sampled_from(OperationType),
        f=st.text(),
        value=st.dictionaries(st.text(), JSON, max_size=4),
    )
)
def test_an_operation_is_one_line_and_comes_back_as_it_was(operation: Operation) -> None:
    line = operation.to_json()
    assert "\n" not in line
    assert Operation.from_json(line) == operation
    assert Operation.from_json(line.encode()) == operation


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"time":1,"process":"p","type":"ok"}', "lacks one of time, process, type, f"),
        ('{"time":"1","process":"p","type":"ok","f":"run"}', "lacks one of time, process, type, f"),
        ('{"time":true,"process":"p","type":"ok","f":"run"}', "lacks one of time, process, type, f"),
        (f'{{"time":{LAST_TIME + 1},"process":"p","type":"ok","f":"run"}}', "has a time that no clock has"),
        (f'{{"time":{-LAST_TIME - 1},"process":"p","type":"ok","f":"run"}}', "has a time that no clock has"),
        ('{"time":1,"process":"p","type":"done","f":"run"}', "unknown type 'done'"),
        ('{"time":1,"process":"p","type":"ok","f":"run","value":[]}', "value that is not an object"),
    ],
)
def test_a_line_that_is_no_operation_is_reported_with_the_reason(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Operation.from_json(line)


def test_what_was_recorded_is_read_back_in_the_order_of_time(tmp_path: Path) -> None:
    for process in ("b", "a"):
        recorder = Recorder(tmp_path / f"{process}.jsonl", process=process)
        recorder.record(OperationType.INVOKE, "run", task=1)
        recorder.record(OperationType.OK, "run", task=1)
        recorder.close()
    history = History.load(tmp_path)
    assert [(op.process, op.type) for op in history] == [
        ("b", "invoke"),
        ("b", "ok"),
        ("a", "invoke"),
        ("a", "ok"),
    ]
    assert history.problems == ()


def test_operations_of_one_moment_keep_the_order_of_their_file() -> None:
    first, second = an("first"), an("second")
    assert [op.f for op in History.of([an("later", at=1), first, second])] == ["first", "second", "later"]


def test_a_saved_history_is_the_same_when_loaded(tmp_path: Path) -> None:
    history = History.of([an(at=2), an("enqueue", at=1, process="client")])
    history.save(tmp_path / "all.jsonl")
    assert History.load(tmp_path / "all.jsonl") == history


def test_operations_can_be_picked_by_kind_and_by_process() -> None:
    history = History.of([an(at=1), an("enqueue", at=2, process="client")])
    assert [op.time for op in history.where("run")] == [1]
    assert list(history.where("run", OperationType.INVOKE)) == []
    assert [op.time for op in history.by_process("client")] == [2]
    assert len(history) == 2


def test_a_last_line_without_its_end_is_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    whole = an().to_json()
    (tmp_path / "worker-1.jsonl").write_text(whole + "\n" + whole[: len(whole) // 2])
    history = History.load(tmp_path)
    assert len(history) == 1
    assert history.problems == ("worker-1.jsonl:2 is cut off: its writer ended while writing it",)


def test_a_last_line_that_lacks_only_its_newline_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "worker-1.jsonl").write_text(an().to_json())
    history = History.load(tmp_path)
    assert len(history) == 0
    assert "cut off" in history.problems[0]


def test_a_garbled_line_is_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    garbled = b'\xff\x00{"time": 1\n'
    line = an().to_json().encode() + b"\n"
    (tmp_path / "worker-1.jsonl").write_bytes(line + garbled + line)
    history = History.load(tmp_path)
    assert len(history) == 2
    assert len(history.problems) == 1
    assert history.problems[0].startswith("worker-1.jsonl:2 is not JSON")


def test_an_empty_folder_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    history = History.load(tmp_path)
    assert len(history) == 0
    assert history.problems == (f"{tmp_path} holds no operation",)


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an operation\n")
    an_file = tmp_path / "client.jsonl"
    an_file.write_text(an().to_json() + "\n")
    assert History.load(tmp_path).problems == ()


def test_threads_of_one_process_never_write_into_each_others_lines(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "w.jsonl", process="w")

    def write(thread: int) -> None:
        for n in range(200):
            recorder.record(OperationType.INFO, "mark", thread=thread, n=n, padding="x" * 300)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    history = History.load(tmp_path)
    assert history.problems == ()
    assert {(op.value["thread"], op.value["n"]) for op in history} == {
        (t, n) for t in range(4) for n in range(200)
    }


def test_a_recorder_that_was_closed_refuses_to_record(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "w.jsonl", process="w")
    recorder.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        recorder.record(OperationType.INFO, "mark")


WRITER = """
import pathlib, sys
from harness.history import OperationType, Recorder
recorder = Recorder.for_worker(pathlib.Path(sys.argv[1]))
n = 0
while True:
    recorder.record(OperationType.OK, "run", task=n, padding="x" * 1000)
    print(n, flush=True)
    n += 1
"""


def test_every_line_that_a_killed_writer_had_completed_is_there(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    ) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 500:
            pass
        writer.kill()
        rest = writer.stdout.read().splitlines(keepends=True)
    confirmed = max([500, *(int(line) for line in rest if line.endswith("\n"))])
    history = History.load(tmp_path)
    assert next(iter(history)).f == "hello"
    tasks = [op.value["task"] for op in history.where("run")]
    assert tasks == list(range(len(tasks)))
    assert len(tasks) > confirmed
    assert all("cut off" in problem for problem in history.problems)


def test_a_worker_records_its_start_under_its_process_id(tmp_path: Path) -> None:
    recorder = Recorder.for_worker(tmp_path)
    recorder.close()
    (line,) = recorder.path.read_text().splitlines()
    hello = json.loads(line)
    assert hello["f"] == "hello"
    assert hello["process"] == f"worker-{hello['value']['pid']}" == recorder.path.stem


def written(path: Path, number: int) -> list[Operation]:
    operations = [
        Operation(time=n, process=f"worker-{n % 7}", type=OperationType.OK, f="run", value={"task": n})
        for n in range(number)
    ]
    path.write_text("".join(operation.to_json() + "\n" for operation in operations))
    return operations


@pytest.mark.parametrize("bad", [0, 2047, 2048, 5000])
def test_a_bad_line_among_thousands_is_named_and_costs_no_other(tmp_path: Path, bad: int) -> None:
    operations = written(tmp_path / "h.jsonl", 5001)
    lines = (tmp_path / "h.jsonl").read_bytes().splitlines(keepends=True)
    lines[bad] = b'{"time": 1}\n'
    (tmp_path / "h.jsonl").write_bytes(b"".join(lines))
    history = History.load(tmp_path / "h.jsonl")
    assert list(history) == [op for op in operations if op.time != bad]
    [problem] = history.problems
    assert problem.startswith(f"h.jsonl:{bad + 1} lacks one of")


def test_two_lines_that_are_only_together_two_documents_are_both_bad(tmp_path: Path) -> None:
    line = Operation(time=1, process="p", type=OperationType.OK, f="run").to_json()
    first, second = line + ',{"time":[{}', "{}]}"
    (tmp_path / "h.jsonl").write_text(f"{first}\n{second}\n")
    history = History.load(tmp_path / "h.jsonl")
    assert len(history) == 0
    assert [problem.split()[0] for problem in history.problems[:2]] == ["h.jsonl:1", "h.jsonl:2"]


def test_a_value_of_the_wrong_type_is_bad_however_many_lines_are_read_at_once(tmp_path: Path) -> None:
    good = {"time": 1, "process": "p", "type": "ok", "f": "run", "value": {}}
    wrong = [
        good | {name: value} for name, value in (("time", 1.5), ("process", 3), ("f", None), ("value", [1]))
    ]
    (tmp_path / "h.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [good, *wrong]))
    history = History.load(tmp_path / "h.jsonl")
    assert len(history) == 1
    assert [problem.split()[0] for problem in history.problems] == [f"h.jsonl:{n}" for n in range(2, 6)]


@pytest.mark.parametrize(
    ("name", "value"), [("time", 1.5), ("process", 3), ("type", "done"), ("f", None), ("value", [1])]
)
def test_one_value_of_the_wrong_type_is_noticed_where_everything_else_is_well(
    tmp_path: Path, name: str, value: object
) -> None:
    good = {"time": 1, "process": "p", "type": "ok", "f": "run", "value": {}}
    (tmp_path / "h.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(good | {name: value}) + "\n")
    history = History.load(tmp_path / "h.jsonl")
    assert len(history) == 1
    assert [problem.split()[0] for problem in history.problems] == ["h.jsonl:2"]


def test_reading_leaves_the_collector_as_it_was(tmp_path: Path) -> None:
    written(tmp_path / "h.jsonl", 3)
    assert gc.isenabled()
    History.load(tmp_path / "h.jsonl")
    assert gc.isenabled()


def test_a_reading_is_worked_out_once_for_each_history() -> None:
    asked: list[History] = []

    def reading(history: History) -> int:
        asked.append(history)
        return len(history)

    one, other = History.of([]), History.of([Operation(time=1, process="p", type=OperationType.OK, f="run")])
    assert [one.derive(reading), one.derive(reading), other.derive(reading)] == [0, 0, 1]
    assert asked == [one, other]
