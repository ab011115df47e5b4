"""The client of the worker kit as a process: one line of JSON for each call, whatever the adapter prints or raises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness.kit

ADAPTER = """
import os, sys, threading
from harness_worker import client

class Adapter:
    version = "1.2"
    both = threading.Barrier(2)

    def prepare(self):
        print("a library greets")
        os.system("echo a program greets; cat")

    def submit(self, task):
        number = task["number"]
        if number == 3:
            raise client.TaskRefused("no place left\\nsecond line")
        if number == 4:
            raise ConnectionError("reset by peer")
        if number >= 8:
            self.both.wait(20)  # two submissions at the same time, or none returns
        return number

    async def unfinished(self):
        return 2

    async def evidence(self):
        yield client.record(1, "1", "complete", attempt=1)
        yield client.queue(ready=0, held=[])

    def close(self):
        raise RuntimeError

client.serve(Adapter())
"""


class Client:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, number: int, call: str, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": number, "call": call, **fields}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def call(self, call: str, **fields: Any) -> Any:
        self.send(1, call, **fields)
        return self.answer()


@pytest.fixture
def client() -> Iterator[Client]:
    process = subprocess.Popen(
        [sys.executable, "-c", ADAPTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(harness.kit.__file__).parent)},
    )
    with process:
        yield Client(process)
        process.kill()


def test_hello_names_the_protocol_and_the_version(client: Client) -> None:
    assert client.call("hello") == {"id": 1, "result": {"protocol": 1, "version": "1.2"}}


def test_what_libraries_and_programs_print_goes_to_standard_error(client: Client) -> None:
    assert client.call("prepare") == {"id": 1, "result": None}
    output, errors = client.process.communicate(timeout=20)
    assert output == ""
    assert "a library greets" in errors
    assert "a program greets" in errors


def test_each_task_of_a_submission_has_its_outcome(client: Client) -> None:
    answer = client.call("submit", tasks=[{"number": n} for n in (1, 3, 4)])
    assert answer["result"] == [
        {"number": 1, "activity": "1"},
        {"number": 3, "error": "TaskRefused: no place left", "certain": True},
        {"number": 4, "error": "ConnectionError: reset by peer", "certain": False},
    ]


def test_calls_run_at_the_same_time(client: Client) -> None:
    client.send(1, "submit", tasks=[{"number": 8}])
    client.send(2, "submit", tasks=[{"number": 9}])
    assert {
        answer["id"]: answer["result"][0]["activity"] for answer in (client.answer(), client.answer())
    } == {
        1: "8",
        2: "9",
    }


def test_coroutines_and_asynchronous_generators_answer_too(client: Client) -> None:
    assert client.call("unfinished") == {"id": 1, "result": 2}
    assert client.call("evidence")["operation"]["value"]["status"] == "complete"
    assert client.answer()["operation"]["f"] == "queue"
    assert client.answer() == {"id": 1, "result": None}


@pytest.mark.parametrize(
    ("call", "error"), [("close", "RuntimeError"), ("dance", "ValueError: there is no call 'dance'")]
)
def test_a_call_that_fails_is_one_sentence(client: Client, call: str, error: str) -> None:
    assert client.call(call) == {"id": 1, "error": error}


def test_a_line_that_is_no_request_is_answered_and_the_next_one_too(client: Client) -> None:
    assert client.process.stdin is not None
    client.process.stdin.write("[]\n\nnothing\n")
    assert client.call("unfinished")["error"] == "this is no request: []"
    assert client.answer()["error"] == "this is no request: nothing"
    assert client.answer() == {"id": 1, "result": 2}


def test_the_client_ends_at_the_end_of_its_input_though_a_call_still_waits(client: Client) -> None:
    client.send(1, "submit", tasks=[{"number": 8}])
    client.process.communicate(timeout=20)
    assert client.process.returncode == 0
