"""`harness crashpoints` refuses requests that contradict themselves before it starts anything."""

from __future__ import annotations

import pytest

from harness.cli.main import main
from harness.errors import EXIT_USAGE


def test_a_list_of_single_strikes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crashpoints", "--list", "--only", "plain|worker-redis|w|GET|1|reset"]) == EXIT_USAGE
    assert "not allowed with argument --list" in capsys.readouterr().err
