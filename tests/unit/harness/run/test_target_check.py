"""`harness target check`: every mistake that a new adapter has is a line with what is wrong and what to do."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.environments.base import Endpoints
from harness.run.target_check import CheckedPart, check_target
from harness.targets.adapter import adapter
from tests.support.small_adapter import write_small_adapter

PROMISES = '[promises]\nsurvives = ["worker-killed"]\nrecords = true\nqueue = true\n'


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An environment of a folder only: the small adapter needs no server."""

    folder: Path
    name: str = "folder"
    endpoints: Endpoints = field(default=Endpoints(database_url="", redis_url=""))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hx-") as name:
        yield Path(name)


def checked(folder: Path, *edits: tuple[str, str, str], patience: float = 20.0) -> dict[str, CheckedPart]:
    """The parts of the small adapter after text edits of its files (name, old, new)."""
    file = write_small_adapter(folder / "files")
    file.write_text(file.read_text("utf-8") + "\n" + PROMISES, "utf-8")
    for name, old, new in edits:
        path = folder / "files" / name
        text = path.read_text("utf-8")
        assert text.count(old) >= 1, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new), "utf-8")
    history = folder / "history"
    history.mkdir()
    environment: Any = Folder(folder=folder)
    parts = check_target(environment, adapter(str(file)), history=history, patience=patience)
    return {part.name: part for part in parts}


def test_an_adapter_that_works_has_a_note_for_each_part_and_a_proposal(folder: Path) -> None:
    found = checked(folder)
    assert {name for name, part in found.items() if part.problem} == set()
    assert [*found] == [
        "client", "pool", "submit", "runs", "gate", "kill", "drain", "evidence", "stop", "close"
    ]  # fmt: skip
    assert "proposed: recovers_within = " in found["kill"].note
    assert "12 records" in found["evidence"].note


@pytest.mark.parametrize(
    ("part", "edit", "said"),
    [
        ("client", ("client.py", "import json", "import no_such_module, json"), "ended with code 1"),
        ("pool", ("pool.py", "import json", "import no_such_module, json"), "ended with code 1"),
        ("submit", ("client.py", "return activity", "return None"), "submit returned None"),
        ("submit", ("client.py", "return activity", "return 'same'"), "the same id for several tasks"),
        ("submit", ("client.py", "return activity", "raise OSError('no')"), "not acknowledged: OSError: no"),
        ("runs", ("pool.py", "with worker.run(json.loads(job.read_text()), activity=job.stem):", "if True:"),
         "no worker recorded that it ran task.*Run the body of each task in `worker.run`"),
        ("runs", ("pool.py", "activity=job.stem", "activity=job.name"),
         "submit returned job-0001 for task 1, and its run recorded job-0001.running"),
        ("runs", ("client.py", "return len(list(jobs.glob", "return 1 + len(list(jobs.glob"),
         "(tasks are|task is) unfinished after 1 s"),
        ("gate", ("pool.py", "json.loads(job.read_text())", "json.loads(job.read_text())['number']"),
         "did not come to its gate within 1 s.*the whole task"),
        ("gate", ("client.py", 'return len(list(jobs.glob("*.ready"))) + len(list(jobs.glob("*.running")))',
                  "return len(list(jobs.glob('*.ready')))"), "unfinished is 0"),
        ("kill", ("pool.py", 'job.rename(job.with_suffix(".ready"))', "pass"),
         "did not begin again within 1 s, though worker-killed is in `survives`"),
        ("evidence", ("client.py", 'True: "complete"', 'True: "queued"'), "task 1 ran, and its record is.*queued"),
        ("evidence", ("client.py", "yield client.queue", "client.queue"), "has 0 operations `queue`"),
        ("stop", ("pool.py", "    for child in children:\n        child.wait()", "    sys.exit(3)"),
         r"the pool ended with code 3 after SIGTERM.*exit_codes = \[0, 3\]"),
        ("close", ("client.py", "def unfinished", "def close(self): raise OSError('full')\n    def unfinished"),
         "in the call close, failed: OSError: full"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_remedy(
    folder: Path, part: str, edit: tuple[str, str, str], said: str
) -> None:
    found = checked(folder, edit, patience=1.0)
    # A count without running tasks may be seen at once, or at the gate.
    part = "runs" if part == "gate" and part not in found else part
    assert re.search(said, found[part].problem or ""), found


def test_the_text_of_a_target_cannot_control_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        CheckedPart(name="client", note="evil \x1b[2J\r\x07 9.9"),
        CheckedPart(name="pool", problem="no\n\x1b]0;x\x07 pool"),
    ]
    monkeypatch.setattr("harness.cli.target.check_target", lambda *_, **__: iter(parts))
    monkeypatch.setattr("harness.cli.target.make_environment", lambda *_, **__: nullcontext())
    assert main(["target", "check", "agentexec", "--report", str(tmp_path / "report")]) == 1
    out = capsys.readouterr().out
    assert not [one for one in out if ord(one) < 32 and one != "\n"]
    assert "wrong  pool      no �]0;x� pool\n" in out
    assert "agentexec: 1 part does not work\n" in out
