"""`agentexec doctor` is the command of the harness, found by an entry point."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from agentexec.cli import main
from agentexec.cli.parsing import CONFIGURATION
from harness.cli import agentexec_main
from tests.house.sources import ROOT

GROUP = "agentexec.commands"


def test_it_runs_the_command_of_the_installed_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed distribution is a folder with its entry points, here those of this project."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][GROUP]
    folder = tmp_path / "agentexec_harness-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: agentexec-harness\nVersion: 1\n")
    listed = "\n".join(f"{name} = {value}" for name, value in points.items())
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{listed}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--help"])
    assert ended.value.code == 0
    assert "--fix-plan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pools", "none"], "See agentexec doctor --help."),
        (
            ["--restore-check", "x"],
            "--restore-check FILE and --scratch-url URL belong together. Give both, or none.",
        ),
    ],
)
def test_its_messages_name_the_command_that_was_called(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agentexec_main(["doctor", *words]) == 64
    message = capsys.readouterr().err
    assert message.startswith("agentexec: ")
    assert message.endswith(f"{said}\n")


def test_without_the_harness_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert main(["doctor"]) == CONFIGURATION
    assert capsys.readouterr().err == (
        "agentexec: The doctor is in another distribution; install it with `pip install agentexec-harness`.\n"
    )
