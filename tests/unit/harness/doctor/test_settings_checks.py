"""Settings of the environment and the .env file: good ones pass, each mistake is found alone, and no value is shown."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from harness.doctor.area import Area
from harness.doctor.check import CheckFinding, Grade, failed, passed
from harness.doctor.examination import examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS

GOOD = {
    "AGENTEXEC_TASK_TIME_LIMIT": "200",
    "AGENTEXEC_TASK_SOFT_TIME_LIMIT": "100",
    "AGENTEXEC_LOG_FORMAT": "json",
    "AGENTEXEC_METRICS_PORT": "9100",
    "AGENTEXEC_API_KEYS": "sixteen-characters-and-more,the-next-key-of-the-callers",
    "AGENTEXEC_QUEUE_PREFIX": "mine",
    "AGENTEXEC_WORKER_ID": "w",
}


@pytest.fixture(autouse=True)
def good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AGENTEXEC_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def wrong() -> dict[str, tuple[Grade, str]]:
    with Installation(DoctorOptions()) as site:
        checks = [one for one in CHECKS if one.area is Area.SETTINGS]
        found = examine(site, (), today=date(2026, 5, 1), checks=checks).results
    return {one.check.id: (one.finding.grade, one.finding.seen) for one in found if one.needs_repair}


def test_good_settings_pass() -> None:
    assert wrong() == {}


@pytest.mark.parametrize(
    ("name", "value", "check", "grade", "seen"),
    [
        ("LEASE_SECONDS", "4", "lease", Grade.WARN, "4 s"),
        ("LEASE_SECONDS", "121", "lease", Grade.WARN, "121 s"),
        (
            "TASK_TIME_LIMIT",
            "0",
            "time-limit",
            Grade.WARN,
            "no hard time limit for tasks without one of their own",
        ),
        (
            "TASK_SOFT_TIME_LIMIT",
            "200",
            "time-limit",
            Grade.WARN,
            "hard 200 s, soft 200 s: the soft limit never comes",
        ),
        ("TASK_TIME_LIMIT", "301", "graceful-timeout", Grade.WARN, "300 s, hard time limit 301 s"),
        ("GRACEFUL_SHUTDOWN_TIMEOUT", "0", "graceful-timeout", Grade.FAIL, "0 s, hard time limit 200 s"),
        ("API_KEYS", "sixteen-characters-and-more,", "key-rotation", Grade.WARN, "1 valid"),
        ("API_RATE_LIMIT", " OFF", "rate-limit", Grade.FAIL, "off"),
        ("API_RATE_LIMIT", "lots", "rate-limit", Grade.FAIL, "lots, with which no API server starts"),
        (
            "LOG_FORM",
            "hunter2",
            "unknown-name",
            Grade.FAIL,
            "AGENTEXEC_LOG_FORM (did you mean AGENTEXEC_LOG_FORMAT?)",
        ),
        ("ZZZ", "hunter2", "unknown-name", Grade.FAIL, "AGENTEXEC_ZZZ"),
    ],
)
def test_a_mistake_is_found_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str, grade: Grade, seen: str
) -> None:
    monkeypatch.setenv(f"AGENTEXEC_{name}", value)
    assert wrong() == {f"settings.{check}": (grade, seen)}


def key_age(**environment: str) -> CheckFinding:
    checks = [one for one in CHECKS if one.id == "settings.key-age"]
    with Installation(DoctorOptions(environment=environment)) as site:
        return examine(site, (), today=date(2026, 5, 1), checks=checks).results[0].finding


def test_a_key_has_the_age_of_its_noted_day_or_of_its_file(tmp_path: Path) -> None:
    now, file = datetime.now(UTC), tmp_path / "key"
    file.write_text("hunter2")
    days = {number: (now - timedelta(days=number)).isoformat() for number in (0, 89, 91)}
    naive = days[89].partition("+")[0]
    assert key_age(A_ROTATION_DATE=days[0], B_ROTATION_DATE=naive) == passed("B_ROTATION_DATE: 89 days")
    assert key_age(A_ROTATION_DATE=days[0], B_ROTATION_DATE=days[91]) == failed("B_ROTATION_DATE: 91 days")
    assert key_age(A_ROTATION_DATE="soon").grade is Grade.WARN
    assert key_age(A_KEY_FILE=str(file)) == passed("A_KEY_FILE: 0 days")
    os.utime(file, times=(1, now.timestamp() - 100 * 86_400))
    assert key_age(A_KEYS_FILE=str(file)) == failed("A_KEYS_FILE: 100 days")
    assert key_age(A_KEY_FILE="-----BEGIN KEY-----\n" * 500, KEY="hunter2").grade is Grade.SKIP
    assert key_age(A_KEY_FILE="nowhere", KEY="hunter2").seen.startswith("nothing records the age of a key")


def test_a_name_of_the_env_file_counts_too() -> None:
    Path(".env").write_text("# AGENTEXEC_COMMENT=1\nexport AGENTEXEC_NUM_WORKER=8\nAGENTEXEC_NUM_WORKERS=8\n")
    grade, seen = wrong()["settings.unknown-name"]
    assert (grade, seen) == (Grade.FAIL, "AGENTEXEC_NUM_WORKER (did you mean AGENTEXEC_NUM_WORKERS?)")
