"""Progress for people: plain lines in a log, one line that is rewritten on a terminal."""

from __future__ import annotations

import io
import re

import pytest

from harness.progress import PlainLines, Spinner, progress_on


@pytest.fixture(autouse=True)
def _ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("CI", raising=False)


class Terminal(io.StringIO):
    """A stream that reports to be a terminal with an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # StringIO declares an attribute
        return self._encoding

    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_for_each_step_and_none_for_updates() -> None:
    out = io.StringIO()
    with PlainLines(out) as progress:
        progress.step("starting")
        progress.update("10 %")
        progress.step("done")
    lines = [re.sub(r"^\[ *\d+\.\d s\] ", "", line) for line in out.getvalue().splitlines()]
    assert lines == ["starting", "done"]


@pytest.mark.parametrize("out", [io.StringIO(), Terminal("utf-8")])
def test_the_text_of_a_target_cannot_control_the_terminal(out: io.StringIO) -> None:
    with Spinner(out) if out.isatty() else PlainLines(out) as progress:
        progress.step("starting \x1b[31mevil\r\x07")
        while "evil" not in out.getvalue():
            continue
    assert "\x1b[31m" not in out.getvalue()
    assert "\x07" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_wiped_in_the_end() -> None:
    out = Terminal("utf-8")
    with Spinner(out) as progress:
        progress.step("starting")
        progress.update("10 %")
        while "starting  10 %" not in out.getvalue():
            continue
    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[2K")


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    out = Terminal("ascii")
    with Spinner(out) as progress:
        progress.step("starting")
        while "starting" not in out.getvalue():
            continue
    assert out.getvalue().isascii()


def test_the_stream_decides() -> None:
    assert isinstance(progress_on(io.StringIO()), PlainLines)
    assert isinstance(progress_on(Terminal("utf-8")), Spinner)


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1"), ("CI", "1"), ("CI", "true")]
)
def test_an_environment_that_asks_for_plain_text_gets_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert isinstance(progress_on(Terminal("utf-8")), PlainLines)
