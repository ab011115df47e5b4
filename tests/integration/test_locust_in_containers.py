"""Distributed Locust in containers, from the files of `deploy/locust`: the image, the services, and their verdict."""

from __future__ import annotations

import io
import json
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from harness.environments import engine
from harness.environments.images import BUILT_IMAGES, is_present
from tests.support.composed import ComposeFile, build_python_image, run
from tests.support.environment import ROOT
from tests.support.load_play import APP

pytestmark = [pytest.mark.containers, pytest.mark.integration, pytest.mark.timeout(300)]

FILES = ROOT / "deploy" / "locust"
LOCUSTFILE = """
from locust import task
from harness.load import OpenShape, QueueUser, hold
from play_app import Question

class Chat(QueueUser):
    @task
    def ask(self):
        self.enqueue("answer", Question(seconds=0.2))

class Smoke(OpenShape):
    stages = hold(20, "2s")

class Day(OpenShape):
    stages = hold(20, "1h")

thresholds = {"TASK answer": "p99 < 60s", "ALL": "rate > 99%"}
"""
REGISTERED = """
until python -c 'import agentexec; assert agentexec.Client().queue.registered()'; do sleep 0.2; done
"""


@dataclass(frozen=True)
class Topology:
    """Servers, a pool, and the values that a user of the Compose file sets in the shell."""

    client: docker.DockerClient
    network: str
    values: dict[str, str] = field(repr=False)

    def file(self, **more: str) -> ComposeFile:
        return ComposeFile(FILES / "compose.yaml", self.values | more)


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    client, name = engine.connect(), f"hx-load-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        stack.callback(client.close)
        if missing := [image for image in BUILT_IMAGES.values() if not is_present(client, image)]:
            pytest.skip(f"the engine does not have {', '.join(missing)}; run `harness images build`")
        stack.callback(client.networks.create(name).remove)
        password = secrets.token_hex(8)
        values = {
            "LOAD_BASE": f"{name}:base",
            "LOAD_IMAGE": f"{name}:load",
            "DATABASE_URL": f"postgresql://load:{password}@db.staging:5432/staging",
            "REDIS_URL": f"redis://:{password}@redis.staging:6379/0",
            "LOAD_DATABASE": "staging",
            "LOAD_QUEUE": "documents",
            "LOAD_DATABASE_HOST": "db.staging",
            "LOAD_REDIS_HOST": "redis.staging",
            "LOAD_LATENESS": "30",  # other tests use this machine
        }
        postgres = {"POSTGRES_USER": "load", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "staging"}
        for alias, options in (
            ("db.staging", {"image": BUILT_IMAGES["postgres"], "environment": postgres}),
            ("redis.staging", {"image": BUILT_IMAGES["redis"], "command": ["--requirepass", password]}),
        ):
            stack.callback(run(client, name, alias, **options).remove, force=True, v=True)
        folder = tmp_path_factory.mktemp("deployed")
        for file in FILES.iterdir():
            shutil.copy(file, folder)
        (folder / "play_app.py").write_text(APP, "utf-8")
        (folder / "locustfile.py").write_text(LOCUSTFILE, "utf-8")
        topology = Topology(client, name, values)
        stack.callback(client.images.remove, values["LOAD_BASE"], force=True)
        build_python_image(client, BUILT_IMAGES["redis"], values["LOAD_BASE"])
        stack.callback(client.images.remove, values["LOAD_IMAGE"], force=True)
        topology.file().build(client, folder)
        stack.enter_context(running_pool(topology))
        yield topology


@contextmanager
def running_pool(topology: Topology) -> Iterator[None]:
    """The tables, and a pool of the application in the same image."""
    given = {one: topology.values[one] for one in ("DATABASE_URL", "REDIS_URL")}
    script = "until python -m agentexec db create; do sleep 0.2; done; exec python -m agentexec worker play_app:pool"
    pool = run(
        topology.client,
        topology.network,
        "pool",
        image=topology.values["LOAD_IMAGE"],
        entrypoint=["sh", "-c", script],
        environment={**given, "AGENTEXEC_QUEUE_NAME": "documents", "AGENTEXEC_NUM_WORKERS": "1"},
    )
    try:
        code, output = pool.exec_run(["timeout", "60", "sh", "-c", REGISTERED])
        assert code == 0, (output, pool.logs())
        yield
    finally:
        pool.remove(force=True)


def verdict_of(master: Container) -> dict[str, Any]:
    parts, _ = master.get_archive("/reports/verdict.json")
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
        file = tar.extractfile("verdict.json")
        assert file is not None
        document: dict[str, Any] = json.load(file)
        return document


def test_a_master_and_two_workers_give_the_verdict(topology: Topology) -> None:
    with topology.file().up(topology.client, topology.network) as services:
        (master,), workers = services["master"], services["worker"]
        code = master.wait(timeout=120)["StatusCode"]
        output = master.logs().decode()
        assert code == 0, output
        assert [one.wait(timeout=30)["StatusCode"] for one in workers] == [0, 0], workers[0].logs().decode()
        verdict = verdict_of(master)
    counts = verdict["counts"]
    assert counts["due"] == counts["acknowledged"] == counts["terminal"]["complete"] > 20
    assert verdict["facts"]["load processes"] == "2"
    assert topology.values["DATABASE_URL"] not in output
