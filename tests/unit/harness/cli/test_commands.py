"""The commands of `harness`: each has its module, and only that of the given one is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from harness.cli.main import COMMANDS, WITH_ACTIONS, main
from tests.support.environment import ROOT

HELP = """
import sys
from harness.cli import main
try:
    main(["doctor", "--help"])
except SystemExit:
    print(*sorted(name for name in sys.modules if name.startswith(("harness.cli.", "harness.run", "agentexec."))))
"""


def test_each_command_is_a_module_with_a_function_that_adds_it() -> None:
    assert set(WITH_ACTIONS) <= COMMANDS.keys()
    for name in COMMANDS:
        assert callable(getattr(import_module(f"harness.cli.{name}"), f"add_{name}"))


def test_a_command_imports_the_module_of_no_other_one() -> None:
    run = [sys.executable, "-c", HELP]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "harness.cli.doctor harness.cli.main"


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "COMMAND"), (["nonsense"], "chaos"), (["nonsense", "--debug"], "chaos"), (["--debug"], "COMMAND")],
)
def test_without_a_command_it_is_wrong_usage(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 64
    assert says in capsys.readouterr().err


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert [text for text in COMMANDS.values() if text not in " ".join(printed.split())] == []
