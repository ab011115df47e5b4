"""Locust as a child process: its verdict is its own, and it leaves the folder of the user alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import TargetFailed
from harness.load.generator import LocustCommand, run_locust

WRITING = "import pathlib; pathlib.Path('verdict.part').write_text('{}'); "
WRITING += "pathlib.Path('verdict.part').rename('REPORT/verdict.json'); print('redis://:s3cret@host/0')"


def run(python: str, report: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    command = LocustCommand(file=Path("locustfile.py"), database="own", queue="own", report=report)
    words = [*command.words()[:1], "-c", python.replace("REPORT", str(report))]
    monkeypatch.setattr(LocustCommand, "words", lambda _: words)
    return run_locust(command, variables={}, folder=folder, within=30)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_verdict_of_an_earlier_run_in_the_folder_is_not_taken(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locust ends with 0 for --list, with 1 for a fault in the locustfile, and with 2 for a wrong option."""
    (tmp_path / "verdict.json").write_text("{}", "utf-8")
    with pytest.raises(TargetFailed, match=f"Locust ended with code {code}"):
        run(f"raise SystemExit({code})", tmp_path, tmp_path, monkeypatch)


def test_the_folder_of_the_user_gets_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, own = tmp_path / "report", tmp_path / "own"
    report.mkdir()
    own.mkdir()
    (report / "verdict.json").write_text("{}", "utf-8")
    (own / "locust.log").write_text("the user's own", "utf-8")
    assert run(WRITING, report, own, monkeypatch) == 0
    assert (own / "locust.log").read_text("utf-8") == "the user's own"
    assert "redis://:***@host/0" in (report / "locust.log").read_text("utf-8")
