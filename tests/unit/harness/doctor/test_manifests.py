"""Folders that users bring: Compose files with anchors, drop-ins, Lists, and sources that a tool renders."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from harness.doctor import manifests
from harness.doctor.area import Area
from harness.doctor.check import CheckFinding, Grade
from harness.doctor.examination import examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.manifests import read_manifests
from harness.doctor.registry import CHECKS
from tests.mistakes.manifests import UNIT, WORKERS

FILES = tuple(one for one in CHECKS if one.area is Area.FILES)
COMPOSE = """
x-app: &app
  image: app
  mem_limit: 2g
  logging: &logging {driver: json-file}
services:
  db:
    image: postgres
    stop_grace_period: 1m
  worker:
    <<: *app
    command: ["agentexec", "worker", "app:pool"]
    stop_grace_period: 310s
    healthcheck: {test: [CMD, "true"]}
    scale: 2
"""


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(folder: Path, **files: str) -> Path:
    """Write files; in a name, `__` stands for a slash and `_` for a full stop."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
    return folder


def found(deployment: Path) -> dict[str, CheckFinding]:
    with Installation(DoctorOptions(deployment=deployment, environment={})) as site:
        report = examine(site, (), today=date(2026, 5, 1), checks=FILES)
    return {one.check.id.removeprefix("files."): one.finding for one in report.results}


def grades(deployment: Path) -> dict[str, Grade]:
    return {name: one.grade for name, one in found(deployment).items()}


def test_a_service_has_its_own_values_and_those_of_its_anchors(tmp_path: Path) -> None:
    good = grades(write(tmp_path, compose_yaml=COMPOSE))
    of_worker = ("stop-grace", "memory-limits", "probes", "replicas")
    assert {name: good[name] for name in of_worker} == dict.fromkeys(of_worker, Grade.PASS)
    write(tmp_path, compose_yaml=COMPOSE.replace("    stop_grace_period: 310s\n", ""))
    assert found(tmp_path)["stop-grace"].seen == "310 s needed: compose.yaml:12 starts a worker without one"
    write(tmp_path, compose_yaml=COMPOSE.replace("  mem_limit: 2g\n", ""))
    assert found(tmp_path)["memory-limits"].seen == "compose.yaml:11: no memory limit"


def test_a_value_of_a_service_wins_over_that_of_its_anchor(tmp_path: Path) -> None:
    short = COMPOSE.replace("  image: app\n", "  image: app\n  stop_grace_period: 10s\n")
    assert grades(write(tmp_path, compose_yaml=short))["stop-grace"] is Grade.PASS
    short = short.replace("    stop_grace_period: 310s\n", "")
    assert found(write(tmp_path, compose_yaml=short))["stop-grace"].seen == "310 s needed: compose.yaml:4 10s"


@pytest.mark.parametrize(
    "command",
    [
        "command: agentexec worker app:pool",
        "command: [agentexec, worker, 'app:pool']",
        "command:\n      - agentexec\n      - worker",
        "entrypoint: agentexec\n    command: worker app:pool",
        "entrypoint: [agentexec]\n    command: [worker, 'app:pool']",
        "command: python -m agentexec worker app:pool",
    ],
)
def test_each_way_to_start_a_worker_is_seen(tmp_path: Path, command: str) -> None:
    text = f"services:\n  w:\n    image: a\n    {command}\n"
    (tmp_path / "compose.yaml").write_text(text)
    assert grades(tmp_path)["probes"] is Grade.FAIL


def test_the_last_value_of_a_unit_and_its_drop_ins_counts(tmp_path: Path) -> None:
    unit = UNIT.replace("MemoryMax=2G\n", "").replace("6min", "90")
    unit = unit.replace("agentexec worker", "agentexec \\\n  worker")
    write(tmp_path, **{"pool_service": unit})
    assert grades(tmp_path)["stop-grace"] is grades(tmp_path)["memory-limits"] is Grade.FAIL
    drop_ins = tmp_path / "pool.service.d"
    drop_ins.mkdir()
    (drop_ins / "10-first.conf").write_text("[Service]\nMemoryMax=2G\nTimeoutStopSec=1min\n")
    assert found(tmp_path)["stop-grace"].seen == "310 s needed: pool.service.d/10-first.conf:3 1min"
    (drop_ins / "20-last.conf").write_text("[Service]\nTimeoutStopSec=6min\nEnvironment=A_SECRET=hunter2\n")
    now = found(tmp_path)
    assert now["stop-grace"].grade is now["memory-limits"].grade is Grade.PASS
    assert now["secrets"].seen == "pool.service.d/20-last.conf:3 A_SECRET"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_objects_of_a_list_are_objects(tmp_path: Path, end: str) -> None:
    objects = [one.strip("\n").splitlines() for one in WORKERS.split("---\n")]
    lines = [f"{'- ' if number == 0 else '  '}{line}" for one in objects for number, line in enumerate(one)]
    text = end.join(["apiVersion: v1", "kind: List", "items:", *lines, ""])
    (tmp_path / "all.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = read_manifests(tmp_path)
    assert [one.kind for one in read.documents] == [
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "CronJob",
    ]
    assert [one.place for one in read.workers()] == ["all.yaml:12"]
    failing = [name for name, grade in grades(tmp_path).items() if grade is Grade.FAIL]
    assert failing == ["alerts"]


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("Chart.yaml", "name: app\n", "helm template"),
        ("templates/w.yaml", "kind: Deployment\nspec: {{ .Values.spec }}\n", "helm template"),
        ("kustomization.yaml", "resources: [w.yaml]\n", "kubectl kustomize"),
        ("Kustomization", "resources: [w.yaml]\n", "kubectl kustomize"),
        ("compose.override.yaml", "services:\n  worker:\n    mem_limit: 2g\n", "docker compose config"),
        (
            "compose.yaml",
            "services:\n  w:\n    extends: {file: b.yaml, service: w}\n",
            "docker compose config",
        ),
        ("docker-compose.yml", "include: [b.yaml]\nservices: {}\n", "docker compose config"),
    ],
)
def test_what_a_source_lacks_is_no_evidence_and_what_it_has_is(
    tmp_path: Path, name: str, text: str, tool: str
) -> None:
    lacking = "apiVersion: apps/v1\nkind: Deployment\nspec:\n  command: [agentexec, worker]\n"
    (tmp_path / "w.yaml").write_text(lacking)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    now = found(tmp_path)
    for one in ("stop-grace", "memory-limits", "probes", "network-policy", "disruption-budget", "replicas"):
        assert now[one].grade is Grade.SKIP
        assert now[one].seen.endswith(f"give the output of `{tool}`")
    (tmp_path / "w.yaml").write_text(f"{lacking}  terminationGracePeriodSeconds: 30\n  A_TOKEN: hunter2\n")
    now = found(tmp_path)
    assert now["stop-grace"].grade is now["secrets"].grade is Grade.FAIL


def test_the_replicas_of_a_scaler_are_those_of_its_deployment(tmp_path: Path) -> None:
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  labels: {a: b}\n  name: pool\nspec:\n"
    deployment += "  replicas: 1\n  command: [agentexec, worker]\n"
    scaler = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: other}\nspec:\n"
    scaler += "  scaleTargetRef: {kind: Deployment, name: pool}\n  minReplicas: 3\n"
    (tmp_path / "w.yaml").write_text(deployment)
    assert found(tmp_path)["replicas"].seen == "1 pools of Kubernetes"
    (tmp_path / "w.yaml").write_text(f"{deployment}---\n{scaler}")
    assert found(tmp_path)["replicas"].seen == "3 pools of Kubernetes"
    (tmp_path / "w.yaml").write_text(f"{deployment}---\n{scaler.replace('name: pool', 'name: it')}")
    assert found(tmp_path)["replicas"].grade is Grade.WARN


def test_a_secret_with_data_is_one_in_clear_text_and_references_are_none(tmp_path: Path) -> None:
    head = "apiVersion: v1\nkind: Secret\n"
    for text, seen in (
        (f"{head}data:\n  password: aHVudGVyMg==\ntype: Opaque\n", "s.yaml:4 data of a Secret"),
        (f"{head}stringData: {{password: hunter2}}\n", "s.yaml:3 data of a Secret"),
        (f"{head}stringData:\n  password: ${{PASSWORD}}\n  user: <user>\ntype: Opaque\n", "none found"),
        (f"{head}type: Opaque\n", "none found"),
    ):
        (tmp_path / "s.yaml").write_text(text)
        assert found(tmp_path)["secrets"].seen == seen


def test_one_file_a_folder_that_is_none_and_one_without_manifests(tmp_path: Path) -> None:
    write(tmp_path, compose_yaml=COMPOSE, venv__x_yaml="A_TOKEN: hunter2\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.yaml").write_text("A_TOKEN: hunter2\n")
    assert grades(tmp_path / "compose.yaml")["stop-grace"] is Grade.PASS
    assert grades(tmp_path)["secrets"] is Grade.PASS
    for place in (tmp_path / "nowhere", tmp_path / ".git" / "HEAD"):
        assert found(place)["secrets"].grade is Grade.SKIP


def test_of_a_folder_with_too_many_files_nothing_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MOST_FILES", 1)
    write(tmp_path, a_yaml=WORKERS.partition("---")[0], b_yaml=WORKERS)
    assert found(tmp_path)["network-policy"].seen == (
        "no NetworkPolicy; but not all of its files were read: give a smaller folder"
    )
