"""Mistakes in a deployment: edits of good manifests, an old backup, and a load test that failed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from harness.doctor.check import Grade
from tests.mistakes.clinic import Clinic
from tests.mistakes.mistake import FAIL, WARN, Mistake


class ManifestEdit(NamedTuple):
    """An edit of a good manifest that `files.NAME` has to find."""

    file: str
    right: str
    wrong: str
    name: str
    says: str
    grade: Grade = FAIL

    def make(self, deployment: Path) -> None:
        path = deployment / self.file
        text = path.read_text("utf-8")
        assert self.right in text
        path.write_text(text.replace(self.right, self.wrong), "utf-8")


EDITS = (
    ManifestEdit("workers.yaml", "Seconds: 310", "Seconds: 30", "stop-grace", "workers.yaml:6 30"),
    ManifestEdit(
        "workers.yaml",
        "      terminationGracePeriodSeconds: 310\n",
        "",
        "stop-grace",
        "workers.yaml:8 starts",
    ),
    ManifestEdit("compose.yml", "5m10s", "10s", "stop-grace", "compose.yml:4 10s"),
    ManifestEdit("pool.service", "6min", "90", "stop-grace", "pool.service:3 90"),
    ManifestEdit(
        "workers.yaml",
        "valueFrom: {sec",
        "value: hunter2 # {sec",
        "secrets",
        "workers.yaml:15 REDIS_PASSWORD",
    ),
    ManifestEdit(
        "workers.yaml", "$(REDIS_PASSWORD)@", "hunter2@", "secrets", "workers.yaml:18 URL with a password"
    ),
    ManifestEdit(
        "compose.yml",
        "${PASSWORD}@",
        "hunter2@",
        "secrets",
        "compose.yml:8 URL with a password",
    ),
    ManifestEdit(
        "compose.yml", "API_TOKEN: ${API_TOKEN}", "API_TOKEN: hunter2", "secrets", "compose.yml:10 API_TOKEN"
    ),
    ManifestEdit(
        "compose.yml", "--requirepass ${REDIS_PASSWORD}", "--requirepass hunter2", "secrets", "compose.yml:13"
    ),
    ManifestEdit(
        "pool.service", "MemoryMax=2G", "MemoryMax=2G\nEnvironment=A_SECRET=hunter2", "secrets", "A_SECRET"
    ),
    ManifestEdit(
        "workers.yaml",
        "kind: PodDisruptionBudget\n",
        "kind: PodDisruptionBudget\n---\napiVersion: v1\nkind: Secret\ndata: {password: aHVudGVyMg==}\n",
        "secrets",
        "workers.yaml:32 data of a Secret",
    ),
    ManifestEdit("workers.yaml", "replicas: 2", "replicas: 1", "replicas", "1 pools of Kubernetes", WARN),
    ManifestEdit("compose.yml", "{replicas: 2}", "{mode: global}", "replicas", "1 pools of Compose", WARN),
    ManifestEdit("workers.yaml", "NetworkPolicy", "Network", "network-policy", "no NetworkPolicy"),
    ManifestEdit("workers.yaml", "port: 53}", "port: 443}", "network-policy", "egress without port 53"),
    ManifestEdit("workers.yaml", "memory: 2Gi", "cpu: 1", "memory-limits", "workers.yaml:9"),
    ManifestEdit("compose.yml", "mem_limit: 2g", "cpus: 1", "memory-limits", "compose.yml:3"),
    ManifestEdit("workers.yaml", "livenessProbe", "unknownProbe", "probes", "workers.yaml:9"),
    ManifestEdit("workers.yaml", "PodDisruptionBudget", "Other", "disruption-budget", "none", WARN),
    ManifestEdit("workers.yaml", '"cleanup"', '"config"', "cleanup-job", "no file"),
    ManifestEdit("agentexec.rules", "alert", "record", "alerts", "no rule"),
    ManifestEdit("agentexec.rules", "agentexec_", "other_", "alerts", "no rule"),
)


def _edited(edit: ManifestEdit) -> Mistake:
    return Mistake(
        id=f"files.{edit.name}",
        grade=edit.grade,
        make=lambda clinic: edit.make(clinic.files.deployment),
        repair=lambda clinic: clinic.files.write(),
        says=edit.says,
    )


def _backup_of_yesterday(clinic: Clinic) -> None:
    os.utime(clinic.files.backup, times=(1, time.time() - 27 * 3600))


def _line_of_text(clinic: Clinic) -> None:
    clinic.files.log.write_text("INFO agentexec: Pool started.\n")


def _failed_load(clinic: Clinic) -> None:
    clinic.files.verdict.write_text(json.dumps({"exit_code": 1}))


MISTAKES = (
    *map(_edited, EDITS),
    Mistake(
        id="files.backup-age",
        grade=FAIL,
        make=_backup_of_yesterday,
        repair=lambda clinic: clinic.files.write(),
        says="27.0 hours old",
    ),
    Mistake(
        id="files.log",
        grade=FAIL,
        make=_line_of_text,
        repair=lambda clinic: clinic.files.write(),
        says="0 of the last 1",
    ),
    Mistake(
        id="files.load-test",
        grade=FAIL,
        make=_failed_load,
        repair=lambda clinic: clinic.files.write(),
        says="exit code 1",
    ),
)
