"""`harness crashpoints`: the command that repeats a strike, and requests that contradict themselves."""

from __future__ import annotations

import shlex
from argparse import Namespace

import pytest

from harness.cli.crashpoints import repeat_command
from harness.cli.main import _parser, main
from harness.crashpoints.points import CrashStrike
from harness.errors import EXIT_USAGE

STRIKE = CrashStrike.parse("plain|worker-redis|agentexec-worker|EXEC|1|reset")


@pytest.mark.parametrize("backend", ["embedded", "containers"])
def test_a_strike_is_repeated_on_the_same_target_and_backend(backend: str) -> None:
    given = ["crashpoints", "--target", "rq", "--backend", backend, "--jobs", "2"]
    options = _parser("harness", given).parse_args(given, Namespace(given=None))
    words = shlex.split(repeat_command(options, STRIKE))
    assert words[:2] == ["harness", "crashpoints"]
    again = _parser("harness", words[1:]).parse_args(words[1:])
    assert (again.target, again.backend, again.only) == ("rq", backend, [STRIKE.id])


def test_a_list_of_single_strikes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crashpoints", "--list", "--only", "plain|worker-redis|w|GET|1|reset"]) == EXIT_USAGE
    assert "not allowed with argument --list" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [["--lives", "drain"], ["--strikes", "reset"], ["--lives", "plain", "--strikes", "reset"]]
)
def test_lives_and_kinds_beside_single_strikes_are_refused(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crashpoints", "--only", STRIKE.id, *more]) == EXIT_USAGE
    assert "--only names whole strikes" in capsys.readouterr().err
