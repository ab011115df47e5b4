"""The exit codes of programs, and the streams that they are given."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.command_line import Terminated, exit_code_of
from harness.errors import EnvironmentUnavailable, UsageError
from loadtests.bench import __main__ as bench
from loadtests.peers import __main__ as peers


def raising(error: BaseException) -> Callable[[], int]:
    def call() -> int:
        raise error

    return call


def say(text: str) -> int:
    print(text)
    return 0


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("There is no file two\nlines.\tName one."), 64, "There is no file two lines. Name one."),
        (EnvironmentUnavailable("The log ends so:\n  fatal"), 2, "The log ends so:\n  fatal"),
        (KeyboardInterrupt(), 130, "interrupted by SIGINT; all its processes are stopped."),
        (Terminated(), 143, "interrupted by SIGTERM; all its processes are stopped."),
        (OSError(28, "No space left on device", "/data/x"), 2, "/data/x cannot be written (No space left on"),
        (UsageError("No answer of redis://user:hunter2@host."), 64, "redis://user:***@host"),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of("program", raising(error)) == code
    said = capsys.readouterr().err
    assert said.startswith(f"program: {words}" if "hunter2" not in str(error) else "program: No answer")
    assert words in said


def test_a_mistake_of_the_program_itself_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of("program", raising(ZeroDivisionError()))
    with pytest.raises(IsADirectoryError):
        exit_code_of("program", raising(IsADirectoryError(21, "Is a directory", "x")))


@pytest.mark.parametrize("program", [bench, peers])
def test_a_benchmark_that_is_interrupted_says_so(
    program: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "make_environment", lambda _: raising(KeyboardInterrupt())())
    monkeypatch.setattr(peers, "all_peers", dict)
    words = [] if program is peers else ["start"]
    assert program.main([*words, "--report", str(tmp_path)]) == 130  # type: ignore[attr-defined]
    assert "interrupted by SIGINT" in capsys.readouterr().err


def test_a_page_without_markers_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("no marker", None):
        page = tmp_path / "page.md"
        page.unlink(missing_ok=True)
        if text is not None:
            page.write_text(text)
        assert peers.main(["--document", str(page), "--report", str(tmp_path / "report")]) == 64
        assert f"The page {page} cannot take the tables" in capsys.readouterr().err
        assert not (tmp_path / "report").exists()


def test_what_an_output_cannot_encode_is_shown_as_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert exit_code_of("program", lambda: say("grün \udcff")) == 0
    assert written.getvalue() == b"gr\\xfcn \\udcff\n"


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_program_without_an_output_reaches_its_verdict(closed: str) -> None:
    streams: dict[str, io.StringIO | None] = {"stdout": io.StringIO(), "stderr": io.StringIO(), closed: None}
    with pytest.MonkeyPatch.context() as patched:
        for name, stream in streams.items():
            patched.setattr(sys, name, stream)
        assert exit_code_of("program", lambda: say("VALID")) == 0
        assert exit_code_of("program", raising(UsageError("No such file."))) == 64
        getattr(sys, closed).close()
    said = {name: stream.getvalue() for name, stream in streams.items() if stream is not None}
    # print() would write to stdout what has no stderr.
    assert said == ({"stderr": "program: No such file.\n"} if closed == "stdout" else {"stdout": "VALID\n"})
