"""The HTTP API behind a real uvicorn, over real servers, with a real pool where tasks have to run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import httpx
import pytest

from agentexec import activity
from agentexec.api import create_app
from agentexec.errors import ConfigurationError
from agentexec.producer.client import Client, use_client
from harness.doctor.check import Grade
from harness.doctor.examination import examine
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.registry import CHECKS
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.production import Site, metrics_of, running_api, running_pool, served_api
from tests.support.production_tasks import pool as task_pool

pytestmark = pytest.mark.integration

OLD, NEW = "old-key-0123456789abcdef", "new-key-0123456789abcdef"
CLOSED_PORT = "127.0.0.1:1"  # a port without a listener


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with site.client(api_rate_limit="off") as client:
        yield client


@pytest.fixture
def api(client: Client) -> Iterator[httpx.Client]:
    with running_api(create_app(client)) as api:
        yield api


def create(api: httpx.Client, name: str = "echo", text: str = "", **options: Any) -> httpx.Response:
    return api.post("/api/tasks", json={"task_name": name, "context": {"text": text}}, **options)


def agent(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    return str(answer.json()["agent_id"])


def result(api: httpx.Client, agent_id: str) -> httpx.Response:
    return api.get(f"/api/tasks/{agent_id}/result")


def test_a_task_goes_its_way_from_creation_to_result(
    site: Site, api: httpx.Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    created = create(api, text="Ishmael")
    agent_id = agent(created)
    assert created.headers["Location"] == f"/api/tasks/{agent_id}"
    assert created.json() == {"agent_id": agent_id, "task_name": "echo", "note": None}
    pending = result(api, agent_id)
    assert (pending.status_code, pending.json()["status"]) == (202, "queued")
    assert pending.headers["Retry-After"] == "1"
    with running_pool(site, tmp_path, workers=1):
        eventually(lambda: result(api, agent_id).status_code == 200, deadline=30)
    assert result(api, agent_id).json() == {
        "agent_id": agent_id,
        "status": "complete",
        "result": {"text": "Ishmael"},
    }
    detail = api.get(created.headers["Location"]).json()
    assert (detail["status"], detail["agent_type"], detail["attempt"]) == ("complete", "echo", 1)
    assert [entry["status"] for entry in detail["logs"]] == ["queued", "running", "running", "complete"]
    assert detail["logs"][2]["message"] == "halfway"


def test_a_failed_task_has_no_result_and_its_error_has_no_secret(
    site: Site, api: httpx.Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    agent_id = agent(create(api, "fail", "redis://:hunter22@db is away"))
    with running_pool(site, tmp_path, {"AGENTEXEC_MAX_TASK_RETRIES": "0"}, workers=1):
        eventually(lambda: result(api, agent_id).status_code == 409, deadline=30)
    failure = result(api, agent_id).json()
    assert failure["status"] == "error"
    assert failure["error"] == "ValueError: redis://:***@db is away"
    assert "hunter22" not in api.get(f"/api/tasks/{agent_id}").text
    assert "hunter22" not in api.get("/api/tasks", params={"page_size": 200}).text


def test_a_running_task_is_canceled_through_its_worker(
    site: Site, api: httpx.Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    agent_id = agent(create(api, "wait"))
    with running_pool(site, tmp_path, {"AGENTEXEC_LEASE_SECONDS": "1"}, workers=1):
        eventually(lambda: result(api, agent_id).json()["status"] == "running", deadline=30)
        answer = api.post(f"/api/tasks/{agent_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        eventually(lambda: result(api, agent_id).status_code == 409, deadline=30)
    assert result(api, agent_id).json()["status"] == "canceled"


def test_a_queued_task_is_canceled_at_once_and_only_once(api: httpx.Client) -> None:
    agent_id = agent(create(api))
    first, second = (api.post(f"/api/tasks/{agent_id}/cancel") for _ in range(2))
    assert (first.status_code, first.json()["status"]) == (200, "canceled")
    assert (second.status_code, second.json()["note"]) == (409, "It is over.")
    assert result(api, agent_id).status_code == 409


@pytest.mark.parametrize("path", ["", "/result", "/cancel"])
def test_an_unknown_task_is_404(api: httpx.Client, path: str) -> None:
    method = "POST" if path == "/cancel" else "GET"
    answer = api.request(method, f"/api/tasks/{uuid4()}{path}")
    assert answer.status_code == 404
    assert "is recorded here" in answer.json()["detail"]
    assert api.request(method, f"/api/tasks/not-an-id{path}").status_code == 422


def test_the_list_is_paged_and_filtered_by_status(api: httpx.Client) -> None:
    ids = [agent(create(api)) for _ in range(3)]
    api.post(f"/api/tasks/{ids[1]}/cancel")
    page = api.get("/api/tasks", params={"status": "queued", "page_size": 2}).json()
    assert [item["agent_id"] for item in page["items"]] == [ids[2], ids[0]]
    assert page["page_size"] == 2
    both = api.get("/api/tasks", params={"status": ["queued", "canceled"], "page_size": 1}).json()
    assert both["total"] > both["page_size"] == len(both["items"]) == 1
    assert api.get("/api/tasks", params={"status": "lost"}).status_code == 422
    assert api.get("/api/tasks", params={"page_size": 201}).status_code == 422


def test_an_empty_message_is_shown_as_it_is(client: Client, api: httpx.Client) -> None:
    agent_id = agent(create(api))
    activity.cancel(agent_id, "", client=client)
    (item,) = [i for i in api.get("/api/tasks?status=canceled").json()["items"] if i["agent_id"] == agent_id]
    assert item["latest_log_message"] == ""
    failed = agent(create(api))
    with use_client(client):
        activity.error(failed, "")
    assert result(api, failed).json()["error"] == ""


def test_requests_with_one_idempotency_key_are_one_task_also_at_the_same_time(
    client: Client, api: httpx.Client
) -> None:
    headers = {"Idempotency-Key": f"order-{uuid4()}"}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: create(api, headers=headers), range(16)))
    assert len({agent(answer) for answer in answers}) == 1
    assert client.queue.depth().known == 1


def test_an_idempotency_key_of_another_task_or_queue_is_409(site: Site, api: httpx.Client) -> None:
    headers = {"Idempotency-Key": f"order-{uuid4()}"}
    agent_id = agent(create(api, "echo", headers=headers))
    refused = create(api, "wait", headers=headers)
    assert refused.status_code == 409
    assert "'echo'" in refused.json()["detail"]
    with (
        site.client(queue_name=f"{site.queue}-b", api_rate_limit="off") as b,
        running_api(create_app(b)) as api_b,
    ):
        assert create(api_b, "echo", headers=headers).status_code == 409
    assert agent(create(api, "echo", "another context", headers=headers)) == agent_id


def test_the_limit_is_100_a_minute_over_all_servers_with_retry_after(site: Site) -> None:
    with (
        site.client() as one,
        site.client() as two,
        running_api(create_app(one)) as first,
        running_api(create_app(two)) as second,
    ):
        answers = [create(api) for _ in range(50) for api in (first, second)]
        assert {answer.status_code for answer in answers} == {202}
        refused = create(second)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert second.get("/api/tasks").status_code == 200  # only creation is limited


def admitted(apis: list[httpx.Client], requests: int) -> int:
    """How many of these requests, all sent at once, create a task; the others are refused by the limit."""
    start = Barrier(requests)

    def send(number: int) -> int:
        start.wait()
        return create(apis[number % len(apis)]).status_code

    with ThreadPoolExecutor(requests) as threads:
        answers = Counter(threads.map(send, range(requests)))
    assert answers.total() == answers[202] + answers[429], answers
    return answers[202]


@pytest.mark.parametrize("connections", [1, 10])
def test_a_hundred_requests_at_once_pass_the_limit_exactly(site: Site, connections: int) -> None:
    with (
        site.client(api_rate_limit="10/minute", redis_pool_size=connections) as client,
        running_api(create_app(client)) as api,
    ):
        assert admitted([api], 100) == 10
        assert admitted([api], 20) == 0


def test_two_server_processes_pass_the_limit_exactly_together(site: Site, tmp_path: Path) -> None:
    limit = {"AGENTEXEC_API_RATE_LIMIT": "10/minute"}
    with served_api(site, tmp_path, **limit) as one, served_api(site, tmp_path, **limit) as two:
        assert admitted([one, two], 100) == 10


def test_the_doctor_sees_a_limit_and_the_lack_of_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTEXEC_API_RATE_LIMIT", "5/minute")
    checks = [one for one in CHECKS if one.id == "api.rate-limit"]
    seen = []
    for limit in ("5/minute", "off"):
        with site.client(api_rate_limit=limit) as client, running_api(create_app(client)) as api:
            recorded = api.get("/api/tasks").json()["total"]
            options = DoctorOptions(api_url=str(api.base_url), rate_limit_check=True)
            with Installation(options) as installation:
                [found] = examine(installation, (), today=date(2026, 5, 1), checks=checks).results
            seen.append((found.finding.grade, found.finding.seen))
            assert api.get("/api/tasks").json()["total"] == recorded
    assert seen == [(Grade.PASS, "429 after 5 requests"), (Grade.FAIL, "422 after 5 requests")]


def test_old_and_new_key_are_valid_at_once_and_no_other(site: Site) -> None:
    with (
        site.client(api_keys=f"{OLD},{NEW}", api_rate_limit="1/minute") as client,
        running_api(create_app(client)) as api,
    ):
        for key in (OLD, NEW):  # each has a limit of its own
            assert create(api, headers={"Authorization": f"Bearer {key}"}).status_code == 202
        for refused in (
            create(api),
            create(api, headers={"Authorization": f"Bearer {OLD}x"}),
            api.get("/metrics"),
        ):
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert api.get("/health/ready").status_code == 200


@pytest.mark.parametrize("root_path", ["/svc", "/svc/", "/health"])
def test_keys_are_asked_for_behind_the_root_path_of_uvicorn(
    site: Site, tmp_path: Path, root_path: str
) -> None:
    with served_api(site, tmp_path, "--root-path", root_path, AGENTEXEC_API_KEYS=OLD) as api:
        for path in ("/api/tasks", "/metrics", "/docs", "/openapi.json", "/", "/health/", "/nowhere"):
            assert api.get(path).status_code == 401, path
        for refused in (create(api), api.post(f"/api/tasks/{uuid4()}/cancel")):
            assert refused.status_code == 401
        assert api.get("/health/live").status_code == 200
        api.headers["Authorization"] = f"Bearer {OLD}"
        created = create(api)
        assert created.headers["Location"] == f"{root_path.rstrip('/')}/api/tasks/{agent(created)}"
        assert create(api, text="x" * 2_000_000).status_code == 413
        assert result(api, agent(created)).status_code == 202


def test_only_the_names_of_the_pool_are_taken_where_they_are_given(site: Site) -> None:
    with site.client() as client, running_api(create_app(client, task_names=task_pool.registry)) as api:
        assert create(api, "echo").status_code == 202
        refused = create(api, "ehco")
        assert refused.status_code == 422
        assert refused.json()["detail"] == (
            "There is no task 'ehco'; this service takes: die, echo, fail, flaky, freeze, held, wait."
        )


def test_a_task_that_finds_no_room_is_recorded_and_reported(site: Site) -> None:
    with site.client(max_queue_depth=1) as client, running_api(create_app(client)) as api:
        assert create(api).json()["note"] is None
        full = create(api)
        assert "wait for room" in full.json()["note"]
        assert result(api, agent(full)).json()["status"] == "queued"


def test_what_is_too_large_is_413_and_nothing_of_it_is_recorded(site: Site) -> None:
    with site.client(max_payload_bytes=1000) as client, running_api(create_app(client)) as api:
        context = create(api, text="x" * 1001)
        body = create(api, text="x" * 100_000)
        assert (context.status_code, body.status_code) == (413, 413)
        assert "AGENTEXEC_MAX_PAYLOAD_BYTES" in context.json()["detail"]
        assert client.queue.depth().known == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"task_name": "t", "context": {"a": NaN}}',
        b'{"task_name": "t", "context": {"a": "\\u0000"}}',
        b'{"task_name": "t", "context": {"a": "\\ud800"}}',
        b'{"task_name": "t", "context": {"a": 1e999}}',
        b'{"task_name": "t", "context": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"task_name": "t", "secret": "hunter22"}',
    ],
)
def test_a_body_that_is_no_task_is_422_and_not_sent_back(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/api/tasks", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert "hunter22" not in answer.text


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"task_name": "t", "context": {"a": ' + b"9" * 5000 + b"}}"]
)
def test_a_body_that_no_parser_takes_is_the_callers_fault(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/api/tasks", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_a_task_is_recorded_while_redis_is_away_and_the_probes_fail(site: Site) -> None:
    with (
        site.client(redis_url=f"redis://:hunter22@{CLOSED_PORT}") as client,
        running_api(create_app(client)) as api,
    ):
        agent_id = agent(create(api))
        assert result(api, agent_id).json()["status"] == "queued"
        assert api.post(f"/api/tasks/{agent_id}/cancel").json()["status"] == "canceled"
        ready = api.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "not ready"
        assert ready.json()["errors"][0].startswith("redis: ConnectionError")
        assert "hunter22" not in ready.text
        found = metrics_of(api)
        assert (found["server_up{server=redis}"], found["server_up{server=database}"]) == (0, 1)
        assert found["outbox_lag_seconds"] == 0  # the one task was canceled


def test_a_database_that_is_away_is_503_with_a_way_on(site: Site) -> None:
    url = f"postgresql://app:hunter22@{CLOSED_PORT}/none"
    with site.client(database_url=url) as client, running_api(create_app(client)) as api:
        for answer in (create(api), api.get("/api/tasks"), result(api, str(uuid4()))):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
            assert "hunter22" not in answer.text
        assert api.get("/health/live").json() == {"status": "alive"}
        assert api.get("/health/ready").json()["errors"][0].startswith("database: OperationalError")


def test_the_probes_answer_in_time_while_the_database_is_frozen(
    api: httpx.Client, servers: EmbeddedEnvironment, eventually: Callable[..., Any]
) -> None:
    assert api.get("/health/ready").json() == {"status": "ready"}
    servers.pause("postgres")
    try:
        began = time.monotonic()
        ready = api.get("/health/ready")
        assert ready.json() == {"status": "not ready", "errors": ["database: no answer within 2 s"]}
        assert api.get("/health").json() == {"status": "ok"}
        assert time.monotonic() - began < 4
    finally:
        servers.resume("postgres")
    eventually(lambda: api.get("/health/ready").status_code == 200, deadline=30)


def test_the_api_counts_what_it_recorded(api: httpx.Client) -> None:
    name = f"counted-{uuid4().hex[:8]}"
    key = {"Idempotency-Key": name}
    for headers in ({}, {}, key, key):
        create(api, name, headers=headers)
    assert metrics_of(api)[f"tasks_queued_total{{task_name={name}}}"] == 3
    assert metrics_of(api)["queue_depth"] == 3


def test_an_api_without_servers_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL", "AGENTEXEC_DATABASE_URL", "AGENTEXEC_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set DATABASE_URL"):
        create_app()
