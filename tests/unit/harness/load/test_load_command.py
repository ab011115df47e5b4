"""The command line of `harness load`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from harness.cli import load, main
from harness.command_line import Parser


def parsed(*words: str) -> Namespace:
    parser = Parser(prog="harness load")
    load.add_load(parser, Parser(add_help=False))
    return parser.parse_args(words)


def test_the_words_after_two_dashes_go_to_locust_as_they_are() -> None:
    found = parsed("run", "locustfile.py", "--pool", "myapp:pool", "--", "--load-shape", "Day", "--pool", "x")
    assert (found.file, found.pool) == (Path("locustfile.py"), "myapp:pool")
    assert found.words == ["--load-shape", "Day", "--pool", "x"]
    assert parsed("run", "locustfile.py", "--pool", "myapp:pool").words == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "missing.py", "--pool", "myapp:pool"], "There is no locustfile missing.py"),
        (["run", "locustfile.py"], "--pool"),
        (["clean", "everything", "--load-database", "own"], "no id of a load run"),
        (["export", "x.csv", "--load-queue", "q", "--load-database", "own"], "There is no DATABASE_URL"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_code_64(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "HARNESS_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["load", *words]) == 64
    assert sentence in capsys.readouterr().err
