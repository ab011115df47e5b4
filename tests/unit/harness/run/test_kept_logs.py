"""Logs of pools and servers are kept beside the history: masked, and bounded in size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from harness.environments.base import Environment
from harness.run import kept_logs as module
from harness.run.kept_logs import bounded, kept_logs


class Logging:
    """An environment of which only the logs are used."""

    def __init__(self, logs: Mapping[str, str]) -> None:
        self._logs = logs

    def logs(self, service: str) -> str:
        found = self._logs[service]
        if found == "gone":
            raise RuntimeError("the container is gone")
        return found


def keep(folder: Path, **logs: str) -> Any:
    return kept_logs(cast("Environment", Logging({"postgres": "", "redis": "", **logs})), folder)


def test_what_the_servers_logged_is_kept_without_secrets(tmp_path: Path) -> None:
    with keep(tmp_path, postgres="connection to postgres://ax:hunter2@h/db\nready\n"):
        pass
    assert (tmp_path / "postgres.log").read_text() == "connection to postgres://ax:***@h/db\nready\n"
    assert not (tmp_path / "redis.log").exists()  # a backend that cannot read a log leaves no empty file


def test_the_log_of_a_pool_is_masked_when_the_run_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "pool-1.log"
    with keep(tmp_path):
        log.write_bytes(b"redis://:hunter2@h/0\n\xff\n")
    assert log.read_text("utf-8") == "redis://:***@h/0\n�\n"


def test_logs_are_kept_when_the_run_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), keep(tmp_path, redis="ready\n"):
        raise KeyboardInterrupt
    assert (tmp_path / "redis.log").read_text() == "ready\n"


def test_a_log_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    with keep(tmp_path, postgres="gone", redis="ready\n"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["redis.log"]


def test_of_a_long_log_the_begin_and_the_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CHARACTERS", 20)
    monkeypatch.setattr(module, "LAST_CHARACTERS", 30)
    text = "".join(f"line {n:04d}\n" for n in range(1_000))
    assert bounded(text).splitlines() == [
        "line 0000",
        "line 0001",
        "[995 lines are left out here]",
        "line 0997",
        "line 0998",
        "line 0999",
    ]


def test_a_long_line_is_cut_after_it_is_masked() -> None:
    secret = f"{'x' * (module.LONGEST_LINE - 12)} redis://:{'hunter2' * 9}@h\nnext"
    found = bounded(secret)
    assert "hunter2" not in found
    assert found.endswith(" [cut]\nnext")


def test_of_a_large_log_of_a_pool_only_the_ends_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_CHARACTERS", 20)
    monkeypatch.setattr(module, "LAST_CHARACTERS", 30)
    log = tmp_path / "pool-1.log"
    with keep(tmp_path):
        log.write_text("".join(f"line {n:04d}\n" for n in range(1_000)))
    kept = log.read_text().splitlines()
    assert kept[:2] == ["line 0000", "line 0001"]
    assert kept[-1] == "line 0999"
    assert [line for line in kept if "left out here" in line]
    assert len(kept) < 10


def test_a_log_that_is_no_file_changes_nothing(tmp_path: Path) -> None:
    with keep(tmp_path):
        (tmp_path / "pool-1.log").mkdir()
        (tmp_path / "pool-2.log").symlink_to(tmp_path / "nowhere")
    assert (tmp_path / "pool-1.log").is_dir()
