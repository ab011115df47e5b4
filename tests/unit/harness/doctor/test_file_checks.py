"""Manifests, backups and load reports: a good folder passes, and each mistake in it is found alone, by its line."""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import pytest

from harness.doctor.area import Area
from harness.doctor.check import Grade
from harness.doctor.examination import examine, grades
from harness.doctor.file_checks import LOG_BYTES, seconds_of
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS
from tests.mistakes.manifests import LOG, DeployedFiles
from tests.mistakes.of_files import EDITS, ManifestEdit

# Without the one that restores: tests/integration/test_doctor.py has it.
FILES = tuple(one for one in CHECKS if one.area is Area.FILES and one.id != "files.backup-restored")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorOptions:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AGENTEXEC_")]:
        monkeypatch.delenv(name)
    files = DeployedFiles(folder=tmp_path)
    files.write()
    return DoctorOptions(
        deployment=files.deployment,
        backups=files.backup.parent,
        load_report=files.verdict.parent,
        log=files.log,
        environment={},
    )


def report(options: DoctorOptions) -> tuple[dict[str, Grade], str]:
    with Installation(options) as site:
        found = examine(site, (), today=date(2026, 5, 1), checks=FILES)
    wrong: dict[str, Grade] = {
        name: grade for name, grade in grades(found).items() if grade is not Grade.PASS
    }
    return wrong, "; ".join(one.finding.seen for one in found.results if one.check.id in wrong)


def test_a_good_folder_passes(options: DoctorOptions) -> None:
    assert report(options) == ({}, "")


@pytest.mark.parametrize("edit", EDITS, ids=lambda one: one.name)
def test_a_mistake_in_a_manifest_is_found_alone(options: DoctorOptions, edit: ManifestEdit) -> None:
    assert options.deployment is not None
    edit.make(options.deployment)
    found, seen = report(options)
    assert found == {f"files.{edit.name}": edit.grade}
    assert edit.says in seen
    assert "hunter2" not in seen


def test_an_old_an_empty_and_no_backup_are_found(options: DoctorOptions, tmp_path: Path) -> None:
    backup = tmp_path / "backups" / "of-today.sql.gz"
    os.utime(backup, times=(1, time.time() - 27 * 3600))
    assert report(options)[0] == {"files.backup-age": Grade.FAIL}
    deeper = tmp_path / "backups" / "base" / "20260501" / "base.tar.gz"
    deeper.parent.mkdir(parents=True)
    deeper.write_text("x")
    assert report(options)[0] == {}
    deeper.unlink()
    backup.write_bytes(b"")
    assert report(options)[1] == "0.0 hours old, 0 bytes"
    backup.unlink()
    assert report(options)[1] == "no file"


def test_a_load_test_that_failed_or_is_old_or_cannot_be_read_is_found(
    options: DoctorOptions, tmp_path: Path
) -> None:
    verdict = tmp_path / "load" / "verdict.json"
    for text in ('{"exit_code": 1}', "{}", "[1]", "{"):
        verdict.write_text(text)
        assert report(options)[0] == {"files.load-test": Grade.FAIL}
    verdict.write_text('{"exit_code": 0}')
    os.utime(verdict, times=(1, time.time() - 31 * 86400))
    assert report(options)[1] == "exit code 0, 31.0 days old"


def test_a_line_of_text_in_a_log_is_found_and_one_that_is_cut_is_not(
    options: DoctorOptions, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "pool.log"
    log.write_text(LOG * (2 * LOG_BYTES // len(LOG)))
    assert report(options)[0] == {}
    for line in ("INFO: Started.", "[1]", '{"level": "INFO"}'):
        log.write_text(f"{LOG}{line}\n")
        assert report(options) == ({"files.log": Grade.FAIL}, "1 of the last 2 lines are")
    log.unlink()
    os.mkfifo(log)
    assert report(options)[1] == "it is no file"
    log.unlink()
    assert report(options)[1] == "it cannot be read: No such file or directory"


def test_without_folders_everything_is_skipped() -> None:
    found, _ = report(DoctorOptions(environment={}))
    assert found == dict.fromkeys((one.id for one in FILES), Grade.SKIP)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("command: agentexec worker app:pool", True),
        ('command: ["agentexec", "worker", "app:pool"]', True),
        ("command: ['agentexec','worker']", True),
        ("command:\n  - agentexec\n  - worker", True),
        ('command: ["agentexec"]\nargs: ["worker", "app:pool"]', True),
        ("command: [agentexec]\nargs:\n  - worker", True),
        ("python -m agentexec worker", True),
        ("app: agentexec-worker", False),
        ("image: agentexec/worker", False),
        ('command: ["agentexec", "cleanup"]', False),
    ],
)
def test_a_start_of_a_worker_is_recognised(
    text: str, starts: bool, options: DoctorOptions, tmp_path: Path
) -> None:
    for path in (tmp_path / "deploy").iterdir():
        path.unlink()
    (tmp_path / "deploy" / "one.yaml").write_text(f"{text}\nmem_limit: 2g\n")
    assert ("files.memory-limits" not in report(options)[0]) is starts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("310", 310),
        ("310s", 310),
        ("5m30s", 330),
        ("5min", 300),
        ("1h", 3600),
        ("infinity", float("inf")),
        ("x", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
