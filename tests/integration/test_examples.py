"""The examples do what their text describes, with the commands that they give."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import RootModel

import agentexec as ax
from agentexec.activity import Activity
from agentexec.producer.client import Client
from agentexec.queue.dead_letters import DeadLetters
from examples.agents import agents
from harness.load.agents import AgentModel, preset
from tests.support.environment import ROOT
from tests.support.production import Site, running_pool, served_api

pytestmark = pytest.mark.integration


class Context(RootModel[dict[str, Any]]):
    """A context as it is stored."""


class Service:
    """An external service that can be down, and counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.down = True
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.calls += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps({"echo": body}).encode()
                self.send_response(503 if service.down else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


def enqueue(client: Client, name: str, *contexts: dict[str, Any]) -> None:
    client.enqueue_many_sync([ax.TaskRequest(task_name=name, context=Context(c)) for c in contexts])


def command(site: Site, *arguments: str) -> str:
    """Run a command of an example; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=site.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_an_open_circuit_spares_the_service_and_keeps_the_tasks_for_later(
    site: Site, client: Client, service: Service, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    letters = DeadLetters(client.queue)
    environment = {
        "API_URL": service.url,
        "AGENTEXEC_WORKER_CONCURRENCY": "1",
        "AGENTEXEC_MAX_TASK_RETRIES": "9",
        "AGENTEXEC_RETRY_BASE_SECONDS": "0.01",
        "AGENTEXEC_RETRY_CAP_SECONDS": "0.1",
    }
    pool = "examples.circuit_breaker:pool"
    with running_pool(site, tmp_path, environment, pool=pool, workers=1):
        enqueue(client, "api_task", *({"data": {"n": n}} for n in range(8)))
        eventually(lambda: letters.count() == 8, deadline=30)
    assert service.calls == 5
    assert {letter.reason for letter in letters.all()} == {"Circuit breaker open - service unavailable"}
    service.down = False
    with running_pool(site, tmp_path, environment, pool=pool, workers=1) as again:
        command(site, "agentexec", "dlq", "requeue", "--all")
        done = "tasks_completed_total{status=complete,task_name=api_task}"
        eventually(lambda: again.metrics().get(done) == 8, deadline=30)
    assert (service.calls, letters.count()) == (13, 0)


def test_a_task_that_keeps_failing_is_given_up_once_and_listed(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    letters = DeadLetters(client.queue)
    environment = {"AGENTEXEC_MAX_TASK_RETRIES": "2", "AGENTEXEC_RETRY_BASE_SECONDS": "0.01"}
    with running_pool(site, tmp_path, environment, pool="examples.dlq_pattern:pool", workers=1) as pool:
        enqueue(client, "process_with_dlq", {"order": 7, "broken": True}, {"order": 8})
        done = "tasks_completed_total{status=complete,task_name=process_with_dlq}"
        eventually(lambda: (letters.count(), pool.metrics().get(done)) == (1, 1), deadline=30)
        assert pool.metrics()["task_duration_seconds_count{task_name=process_with_dlq}"] == 4
        assert pool.stop() == 0
    assert pool.log.read_text().count("gave up order 7") == 1
    (letter,) = letters.all()
    with client.engine.connect() as connection:
        rows = connection.execute(Activity.__table__.select().where(Activity.queue_name == site.queue)).all()
    assert sorted((row.status.value, row.attempt) for row in rows) == [("complete", 1), ("error", 3)]
    for shown in (command(site, "examples.dlq_pattern"), command(site, "agentexec", "dlq", "list")):
        assert letter.task_id in shown
        assert "Moved to DLQ: order 7 cannot be handled" in shown


def test_the_api_example_summarises_a_text(
    site: Site, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    body = {"task_name": "summarise", "context": {"text": "Call me Ishmael. Some years ago"}}
    with (
        running_pool(site, tmp_path, pool="examples.api_app:pool", workers=1),
        served_api(site, tmp_path, app="examples.api_app:make_app") as api,
    ):
        location = api.post("/api/tasks", json=body).raise_for_status().headers["Location"]
        eventually(lambda: api.get(f"{location}/result").status_code == 200, deadline=30)
        assert api.get(f"{location}/result").json()["result"] == {"summary": "Call me Ishmael.", "words": 6}
        assert api.post("/api/tasks", json=body | {"task_name": "translate"}).status_code == 422


def test_an_agent_whose_worker_is_killed_continues_at_its_checkpoint(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    url = site.endpoints.database_url
    agents.create_tables(url)
    model = AgentModel(preset("research"), seed=1)
    work = next(
        found for number in range(99) if len((found := model.request(model.session(number), 0)).steps) > 7
    )
    work = work.scaled(3.0 / work.seconds)
    with running_pool(site, tmp_path, pool="examples.agents.agents:pool", workers=1) as pool:
        (task,) = client.enqueue_many_sync([agents.request(work)])

        def bill() -> list[int]:
            with psycopg.connect(url) as connection:
                rows = connection.execute(
                    "SELECT step FROM agent_bill WHERE request = %s ORDER BY 1", [task.agent_id]
                )
                return [step for (step,) in rows]

        eventually(lambda: len(bill()) >= 2, deadline=30)
        (worker,) = pool.workers()
        worker.kill()
        paid = len(bill())
        done = "tasks_completed_total{status=complete,task_name=agent}"
        eventually(lambda: pool.metrics().get(done) == 1, deadline=30)
    assert bill() == list(range(1, len(work.steps) + 1))
    assert paid < len(work.steps)
