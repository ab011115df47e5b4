"""The command line of `harness load`."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import load, main
from harness.command_line import Parser
from harness.errors import UsageError
from harness.load.locust_options import LoadOptions


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


def test_an_export_that_fails_leaves_an_earlier_trace_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/own")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_seconds\n0\n", "utf-8")
    words = ["export", str(trace), "--load-queue", "q", "--load-database", "own"]
    assert main(["load", *words]) == 2
    assert trace.read_text("utf-8") == "offset_seconds\n0\n"
    assert list(tmp_path.iterdir()) == [trace]


@pytest.mark.parametrize(("name", "value"), [("lateness", math.nan), ("drain", math.inf), ("brake", -1)])
def test_an_option_that_bounds_nothing_is_refused(name: str, value: float) -> None:
    """A lateness of NaN is never above its bound, so that each generator would be in time."""
    names = ("database", "queue", "api", "report", "baseline", "meter", "prices")
    given: dict[str, Any] = {f"load_{one}": None for one in names} | {"allow_target": [], "load_producers": 2}
    given |= {"load_drain": 0.0, "load_canary": 0.0, "load_brake": 9, "load_lateness": 0.05}
    assert LoadOptions.of(Namespace(**given), None, None).brake == 9
    with pytest.raises(UsageError, match=f"--load-{name} cannot be"):
        LoadOptions.of(Namespace(**given | {f"load_{name}": value}), None, None)
