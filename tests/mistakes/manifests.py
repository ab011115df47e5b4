"""A good deployment as files: manifests of three kinds, alert rules, a backup, and the report of a load test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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
  replicas: 2
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
    deploy: {replicas: 2}
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
LOG = '{"timestamp": "2026-05-01T10:00:00+00:00", "level": "INFO", "message": "Pool started.", "pid": 7}\n'
MANIFESTS = {"workers.yaml": WORKERS, "compose.yml": COMPOSE, "pool.service": UNIT, "agentexec.rules": RULES}


@dataclass(frozen=True, kw_only=True)
class DeployedFiles:
    """The places of the files below one folder."""

    folder: Path

    @property
    def deployment(self) -> Path:
        return self.folder / "deploy"

    @property
    def backup(self) -> Path:
        return self.folder / "backups" / "of-today.sql.gz"

    @property
    def verdict(self) -> Path:
        return self.folder / "load" / "verdict.json"

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "pool.log"

    def write(self) -> None:
        """Write all of them as they have to be, whatever is there."""
        texts = {self.deployment / name: text for name, text in MANIFESTS.items()}
        texts |= {self.backup: "x", self.verdict: json.dumps({"exit_code": 0}), self.log: LOG}
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
