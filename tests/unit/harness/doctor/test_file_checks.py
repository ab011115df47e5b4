"""Manifests, backups and load reports: a good folder passes, and each mistake in it is found alone, by its line."""

from __future__ import annotations

import json
import os
import time
from datetime import date
from pathlib import Path

import pytest

from harness.doctor.check import Area, Grade
from harness.doctor.examination import examine, grades
from harness.doctor.file_checks import seconds_of
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS

FILES = tuple(one for one in CHECKS if one.area is Area.FILES)
WORKERS = """\
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 310
      containers:
        - name: worker
          command: ["agentexec", "worker", "app:pool"]
          livenessProbe: {httpGet: {path: /health/live, port: 9100}}
          resources:
            limits:
              memory: 2Gi
          env:
            - name: REDIS_PASSWORD
              valueFrom: {secretKeyRef: {name: redis, key: password}}
            - name: REDIS_URL
              value: redis://:$(REDIS_PASSWORD)@redis:6379/0
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
spec:
  egress:
    - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
---
apiVersion: batch/v1
kind: CronJob
spec:
  command: ["agentexec", "cleanup"]
"""
COMPOSE = """\
services:
  worker:
    command: agentexec worker app:pool
    stop_grace_period: 5m10s
    mem_limit: 2g
    healthcheck: {test: [CMD, curl, localhost:9100/health/live]}
    environment:
      DATABASE_URL: postgresql://app:${PASSWORD}@db/app
      POSTGRES_PASSWORD_FILE: /run/secrets/postgres
      API_TOKEN: ${API_TOKEN}
  redis:
    command: redis-server --requirepass ${REDIS_PASSWORD}
"""
UNIT = """\
[Service]
ExecStart=/opt/venv/bin/agentexec worker app:pool
TimeoutStopSec=6min
MemoryMax=2G
WatchdogSec=30
"""
RULES = "groups:\n  - rules:\n    - {alert: QueueDeep, expr: max(agentexec_queue_depth) > 1000}\n"


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorOptions:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AGENTEXEC_")]:
        monkeypatch.delenv(name)
    found = DoctorOptions(
        deployment=tmp_path / "deploy",
        backups=tmp_path / "backups",
        load_report=tmp_path / "load",
        environment={},
    )
    for folder in ("deploy", "backups", "load"):
        (tmp_path / folder).mkdir()
    texts = {"workers.yaml": WORKERS, "compose.yml": COMPOSE, "pool.service": UNIT, "agentexec.rules": RULES}
    for name, text in texts.items():
        (tmp_path / "deploy" / name).write_text(text)
    (tmp_path / "backups" / "of-today.sql.gz").write_bytes(b"x")
    (tmp_path / "load" / "verdict.json").write_text(json.dumps({"exit_code": 0}))
    return found


def report(options: DoctorOptions) -> tuple[dict[str, Grade], str]:
    with Installation(options) as site:
        found = examine(site, (), today=date(2026, 5, 1), checks=FILES)
    wrong: dict[str, Grade] = {
        name: grade for name, grade in grades(found).items() if grade is not Grade.PASS
    }
    return wrong, "; ".join(one.finding.seen for one in found.results if one.check.id in wrong)


def test_a_good_folder_passes(options: DoctorOptions) -> None:
    assert report(options) == ({}, "")


@pytest.mark.parametrize(
    ("file", "right", "wrong", "check", "says"),
    [
        ("workers.yaml", "Seconds: 310", "Seconds: 30", "stop-grace", "workers.yaml:6 30"),
        (
            "workers.yaml",
            "      terminationGracePeriodSeconds: 310\n",
            "",
            "stop-grace",
            "workers.yaml:8 starts",
        ),
        ("compose.yml", "5m10s", "10s", "stop-grace", "compose.yml:4 10s"),
        ("pool.service", "6min", "90", "stop-grace", "pool.service:3 90"),
        (
            "workers.yaml",
            "valueFrom: {sec",
            "value: hunter2 # {sec",
            "secrets",
            "workers.yaml:15 REDIS_PASSWORD",
        ),
        ("workers.yaml", "$(REDIS_PASSWORD)@", "hunter2@", "secrets", "workers.yaml:18 URL with a password"),
        ("compose.yml", "${PASSWORD}@", "hunter2@", "secrets", "compose.yml:8 URL with a password"),
        (
            "compose.yml",
            "API_TOKEN: ${API_TOKEN}",
            "API_TOKEN: hunter2",
            "secrets",
            "compose.yml:10 API_TOKEN",
        ),
        (
            "compose.yml",
            "--requirepass ${REDIS_PASSWORD}",
            "--requirepass hunter2",
            "secrets",
            "compose.yml:12",
        ),
        ("pool.service", "MemoryMax=2G", "MemoryMax=2G\nEnvironment=A_SECRET=hunter2", "secrets", "A_SECRET"),
        ("workers.yaml", "NetworkPolicy", "Network", "network-policy", "no NetworkPolicy"),
        ("workers.yaml", "port: 53}", "port: 443}", "network-policy", "egress without port 53"),
        ("workers.yaml", "memory: 2Gi", "cpu: 1", "memory-limits", "workers.yaml:9"),
        ("compose.yml", "mem_limit: 2g", "cpus: 1", "memory-limits", "compose.yml:3"),
        ("workers.yaml", "livenessProbe", "unknownProbe", "probes", "workers.yaml:9"),
        ("workers.yaml", "PodDisruptionBudget", "Other", "disruption-budget", "none"),
        ("workers.yaml", '"cleanup"', '"config"', "cleanup-job", "no file"),
        ("agentexec.rules", "alert", "record", "alerts", "no rule"),
        ("agentexec.rules", "agentexec_", "other_", "alerts", "no rule"),
    ],
)
def test_a_mistake_in_a_manifest_is_found_alone(
    options: DoctorOptions, file: str, right: str, wrong: str, check: str, says: str
) -> None:
    path = options.deployment / file if options.deployment else Path()
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong))
    found, seen = report(options)
    assert found.keys() == {f"files.{check}"}
    assert says in seen
    assert "hunter2" not in seen


def test_an_old_an_empty_and_no_backup_are_found(options: DoctorOptions, tmp_path: Path) -> None:
    backup = tmp_path / "backups" / "of-today.sql.gz"
    os.utime(backup, times=(1, time.time() - 27 * 3600))
    assert report(options)[0] == {"files.backup-age": Grade.FAIL}
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
