"""The Compose file of `deploy/`, run for real: the doctor, a chaos scenario, a backup and its restore."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest
from ruamel.yaml import YAML

from chaos import SCENARIOS
from harness.cli import main
from harness.doctor.check import Box
from harness.environments import engine
from harness.environments.images import BUILT_IMAGES, is_present
from harness.environments.ports import LOOPBACK, free_port
from harness.faults.process import kill_pool
from tests.conftest import Eventually
from tests.newcomer.pages import fences
from tests.support.composed import build_python_image
from tests.support.environment import ROOT
from tests.support.servers import require_package

pytestmark = [pytest.mark.containers, pytest.mark.integration, pytest.mark.timeout(600)]

COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
APP = """
from uuid import UUID

from pydantic import BaseModel

import agentexec as ax
from harness.targets.applications.agentexec_watched_task import add_watched_task

pool = ax.Pool()
add_watched_task(pool)

class Question(BaseModel):
    text: str

@pool.task("answer")
async def answer(agent_id: UUID, context: Question) -> Question:
    return context

def make_app():
    from agentexec.api import create_app
    return create_app(task_names=pool.registry)
"""
# In the image that stands for those of other projects.
SERVERS = ("haproxy", "prometheus", "prometheus-postgres-exporter", "prometheus-redis-exporter")
READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:9100/health/ready', timeout=5)"
TARGETS = ["agentexec", "agentexec", "agentexec-api", "agentexec-api", "postgres", "redis"]
# By the measure of this machine, which may be busy.
MEASURED = ("redis.latency", "postgres.fsync-time")
# Debian has no Grafana, and `restore` is run by hand.
LEFT_OUT = {"grafana", "restore"}
ONE_KILL = replace(SCENARIOS["kill-pool"], name="one-kill", faults=(kill_pool(at=0.5),))


@dataclass(frozen=True)
class DeployedKit:
    """The running installation, whose ports are on loopback."""

    project: str
    folder: Path
    variables: dict[str, str]
    ports: dict[str, int]

    def compose(self, *words: str) -> str:
        """The output of a command of docker-compose."""
        # Its old version leaves out limits and replicas otherwise.
        command = ["docker-compose", "--compatibility", "--project-name", self.project]
        done = subprocess.run(
            [*command, "--file", COMPOSE, "--file", self.folder / "override.yaml", *words],
            env=os.environ | self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def once(self, service: str, *words: str) -> str:
        """The output of a new container of a service, without those that it depends on."""
        return self.compose("run", "--rm", "--no-deps", "-T", service, *words)

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text("utf-8").strip()

    @property
    def urls(self) -> dict[str, str]:
        """The addresses of the servers for this machine."""
        options = f"ssl_ca_certs={self.folder / 'secrets' / 'ca_crt'}"
        login = f":{self.secret('redis_password')}@{LOOPBACK}:{self.ports['redis-primary']}"
        database = self.secret("database_url").replace("/run/secrets", str(self.folder / "secrets"))
        return {
            "REDIS_URL": f"rediss://{login}/0?{options}",
            "DATABASE_URL": database.replace("pgbouncer:6432", f"{LOOPBACK}:{self.ports['pgbouncer']}"),
        }

    def is_up(self, client: docker.DockerClient) -> bool:
        """Whether the balancer leads to an API server that is ready, and all workers of both pools are."""
        try:
            got(f"http://{LOOPBACK}:{self.ports['balancer']}/health/ready")
        except OSError:
            return False
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.service=worker"]
        pools = client.containers.list(filters={"label": labels})
        return len(pools) == 2 and all(
            pool.exec_run(["python", "-c", READY]).exit_code == 0 for pool in pools
        )

    def prometheus(self, path: str) -> Any:
        return got(f"http://{LOOPBACK}:{self.ports['prometheus']}/api/v1/{path}")["data"]


def got(url: str) -> Any:
    """The JSON document at a URL; raises OSError for another status than 200."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[DeployedKit]:
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = {name: shutil.which(name, path=path) for name in ("docker-compose", *SERVERS)}
    for name, program in found.items():
        require_package(name, installed=program is not None)
    client, project = engine.connect(), f"hx-kit-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("kit")
    with ExitStack() as stack:
        stack.callback(client.close)
        if missing := [image for image in BUILT_IMAGES.values() if not is_present(client, image)]:
            pytest.skip(f"the engine does not have {', '.join(missing)}; run `harness images build`")
        base, app = f"{project}:base", f"{project}:app"
        for image in (base, app):
            stack.callback(removed, client, image)
        programs = [Path(str(found[name])) for name in SERVERS]
        extras = ("api", "metrics", "migrations")
        build_python_image(client, BUILT_IMAGES["redis"], base, extras=extras, programs=programs)
        files = shutil.copytree(ROOT / "deploy" / "image", folder / "app")
        (files / "kit_app.py").write_text(APP, "utf-8")
        arguments = {"BASE": base, "PACKAGES": f"agentexec-harness[{','.join(extras)}]"}
        client.images.build(path=str(files), buildargs=arguments, tag=app, rm=True)
        made = deployed(project, folder, base, app)
        stack.callback(made.compose, "down", "--volumes", "--timeout", "0")
        services = set(YAML(typ="safe").load(COMPOSE)["services"]) - LEFT_OUT
        made.compose("up", "--detach", *sorted(services))
        eventually(lambda: made.is_up(client), 240, every=0.5)
        yield made


def removed(client: docker.DockerClient, image: str) -> None:
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(image, force=True)


def deployed(project: str, folder: Path, base: str, app: str) -> DeployedKit:
    """The values of the variables, the secrets, and what a test adds: ports, and an image with other programs."""
    subprocess.run(
        ["sh", COMPOSE.parent / "make-secrets.sh", folder / "secrets"], check=True, capture_output=True
    )
    (folder / "load").mkdir()
    ports = {name: free_port() for name in ("balancer", "prometheus", "pgbouncer", "redis-primary")}
    variables = {
        "APP_IMAGE": app,
        "POOL": "kit_app:pool",
        "API": "kit_app:make_app",
        "SECRETS": str(folder / "secrets"),
        "POSTGRES_IMAGE": BUILT_IMAGES["postgres"],
        "PGBOUNCER_IMAGE": BUILT_IMAGES["pgbouncer"],
        "REDIS_IMAGE": BUILT_IMAGES["redis"],
        "BALANCER_IMAGE": base,
        "PROMETHEUS_IMAGE": base,
        "POSTGRES_EXPORTER_IMAGE": base,
        "REDIS_EXPORTER_IMAGE": base,
        "POSTGRES_ENTRYPOINT": "/usr/local/bin/entrypoint",
        "REDIS_ENTRYPOINT": "/usr/local/bin/entrypoint",
        "INTERVAL": "1s",
        "API_PORT": str(ports["balancer"]),
        "PROMETHEUS_PORT": str(ports["prometheus"]),
    }
    services = {
        "pgbouncer": {"ports": [f"{LOOPBACK}:{ports['pgbouncer']}:6432"]},
        "redis-primary": {"ports": [f"{LOOPBACK}:{ports['redis-primary']}:6379"]},
        **{
            f"{name}exporter": {"entrypoint": [f"prometheus-{name}exporter"]}
            for name in ("postgres-", "redis-")
        },
        "prometheus": {"entrypoint": ["prometheus"]},
        "worker": {
            "volumes": [
                f"{ROOT / 'deploy'}:/deploy:ro",
                f"{folder / 'load'}:/load:ro",
                "backups:/backups:ro",
            ]
        },
    }
    with (folder / "override.yaml").open("w") as file:
        YAML(typ="safe").dump({"services": services}, file)
    return DeployedKit(project, folder, variables, ports)


BOXES = dict.fromkeys(map(str, Box), "PASS")


def test_the_kit_runs(
    kit: DeployedKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """One test, because each process of pytest that runs a part of a module would start the kit again."""
    a_load_meets_its_thresholds(kit, tmp_path)
    the_doctor_passes(kit)
    the_tasks_survive_the_kill_of_a_pool(kit, tmp_path, monkeypatch)
    a_backup_is_restored_into_another_database(kit)
    eventually(lambda: scraped(kit), 60, every=0.5)


def a_load_meets_its_thresholds(kit: DeployedKit, folder: Path) -> None:
    """The load of docs/production, from this machine."""
    files = {block["file"]: block["text"] for block in fences("deploy.md") if block["file"]}
    (folder / "app.py").write_text(APP.partition("def make_app")[0], "utf-8")
    (folder / "locustfile.py").write_text(files["locustfile.py"], "utf-8")
    words = ["--headless", "--load-report", kit.folder / "load", "--load-lateness", "30"]
    words += ["--load-database", "agentexec", "--load-queue", "agentexec_tasks"]
    done = subprocess.run(
        [sys.executable, "-m", "locust", *map(str, words)],
        cwd=folder,
        env=os.environ | kit.urls | {"PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def the_doctor_passes(kit: DeployedKit) -> None:
    words = ["agentexec", "doctor", "--deployment", "/deploy", "--backups", "/backups", "--json"]
    words += ["--api-url", "http://balancer:8080", "--metrics-url", "http://worker:9100/metrics"]
    words += ["--load-report", "/load", "--rate-limit-check"]
    report = json.loads(kit.once("worker", *words))
    wrong = [one for one in report["checks"] if one["result"] in ("WARN", "FAIL")]
    wrong = [one for one in wrong if one["id"] not in MEASURED]
    assert (report["boxes"], wrong) == (BOXES, [])


def scraped(kit: DeployedKit) -> bool:
    """Whether Prometheus gets the metrics of all processes, and sees all workers."""
    targets = kit.prometheus("targets")["activeTargets"]
    up = sorted(one["labels"]["job"] for one in targets if one["health"] == "up")
    workers = kit.prometheus("query?query=sum(agentexec_active_workers)")["result"]
    return up == TARGETS and [one["value"][1] for one in workers] == ["8"]


def the_tasks_survive_the_kill_of_a_pool(
    kit: DeployedKit, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in kit.urls.items():
        monkeypatch.setenv(f"HARNESS_{name}", url)
    label = "label=com.docker.compose"
    pools = f"docker ps --quiet --filter {label}.project={kit.project} --filter {label}.service=worker"
    words = [f"{__name__}:ONE_KILL", "--tasks", "40", "--seed", "1", "--patience", "60"]
    words += ["--backend", "external", "--allow-destructive", "agentexec", "--report", str(folder / "report")]
    words += ["--watch", "--queue", "agentexec_tasks", "--kill-victims", pools]
    words += ["--kill-command", "sh -c 'docker kill {victim} && docker start {victim}'"]
    assert main(["chaos", "run", *words]) == 0
    [found] = json.loads((folder / "report" / "verdict.json").read_text("utf-8"))["scenarios"]
    assert (found["verdict"], found["figures"]["faults"]) == ("VALID", 1)


def a_backup_is_restored_into_another_database(kit: DeployedKit) -> None:
    said = kit.once("backup", "sh", "/etc/agentexec/backup.sh", "/backups")
    dump = said.strip().rpartition(" ")[2]
    psql = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    kit.once("roles", *psql, "--set=database=restored", "--file=/etc/agentexec/roles.sql")
    kit.once("restore", dump, "restored")
    count = "SELECT count(*) FROM agentexec_activity_log"
    both = [f"--command={one}" for one in ("\\c agentexec", count, "\\c restored", count)]
    counted = kit.once("roles", *psql, "--tuples-only", "--no-align", *both).split()
    assert counted[0] == counted[1] != "0"
