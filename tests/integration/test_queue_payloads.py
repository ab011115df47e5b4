"""Whatever is pushed straight into Redis: no worker dies of it, and all of it can be seen in the dead letters."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agentexec.identifiers import new_id
from agentexec.producer.client import Client
from agentexec.queue.dead_letters import DeadLetters
from agentexec.task import TaskRequest
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.production import Site, running_pool, wait_for
from tests.support.queue_tasks import Nap

pytestmark = pytest.mark.integration

AS_IDS, UNRECORDED, RECORDED, GOOD = 4_000, 5_000, 1_000, 20


@pytest.fixture
def endpoints(servers: EmbeddedEnvironment) -> Endpoints:
    return servers.endpoints


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(60))


def almost_an_id(rng: random.Random) -> bytes:
    task = str(new_id())
    return rng.choice(
        [
            task[:-1],
            task + "0",
            task.upper(),
            task.replace("-", ""),
            f"{{{task}}}",
            task[1:14] + task[0] + task[14:],
        ]
    ).encode()


def json_of_another_kind(rng: random.Random) -> bytes:
    value: Any = rng.choice([None, 1, [], {}, "nap", {"task_name": "nap"}, {"task_name": 1, "context": {}}])
    return json.dumps(value).encode()


def cut(rng: random.Random) -> bytes:
    whole = json.dumps({"task_name": "nap", "context": {"seconds": 0}}).encode()
    return whole[: rng.randrange(len(whole))]


def bad_context(rng: random.Random) -> bytes:
    """JSON that parses and breaks a careless reader: NUL, half surrogate pairs, wrong types, depth."""
    name = rng.choice(["nap", "visit", "unknown", "", "nap\x00", "\ud800", "n" * 5_000])
    odd: Any = rng.choice(
        [None, 5, [], {}, "x\x00", "\udfff", {"id": None}, {"id\x00": 1}, {"\ud800": 1}, {"a": 1}]
    )
    context = {rng.choice(["user", "seconds", "other", "\x00", "\ud800"]): odd}
    if name == "nap":
        context["unknown"] = odd
    payload = json.dumps({"task_name": name, "context": context}).encode()
    return rng.choice([payload, payload.replace(b"5", b"9" * 6_000), payload.replace(b"null", b"[" * 50_000)])


IDS = (noise, almost_an_id, json_of_another_kind, cut)
PAYLOADS = (noise, almost_an_id, json_of_another_kind, cut, bad_context)


def some(count: int, kinds: tuple[Callable[[random.Random], bytes], ...], rng: random.Random) -> list[bytes]:
    return [rng.choice(kinds)(rng) for _ in range(count)]


def push(client: Client, rng: random.Random) -> set[bytes]:
    """10,000 pieces of garbage, in every place that a worker reads; returns the ids that have to die."""
    keys = client.queue.keys
    ids = some(AS_IDS, IDS, rng)
    recorded = client.enqueue_many_sync([TaskRequest(task_name="nap", context=Nap())] * RECORDED)
    jobs = {
        str(new_id()).encode(): rng.choice([b"", b"0", b"1", b"9", b"x"]) + p
        for p in some(UNRECORDED, PAYLOADS, rng)
    }
    spoilt = {
        str(task.agent_id).encode(): b"1" + payload
        for task, payload in zip(recorded, some(RECORDED, PAYLOADS, rng), strict=True)
    }
    pipe = client.redis.pipeline(transaction=False)
    everything: dict[Any, Any] = jobs | spoilt  # of bytes, which redis-py would have wider
    pipe.hset(keys.job, mapping=everything)
    for name in [*ids, *jobs]:
        pipe.rpush(rng.choice(keys.ready), name)
    pipe.execute()
    return {*ids, *jobs, *spoilt}


@pytest.mark.parametrize("seed", [1])
def test_ten_thousand_malformed_payloads_are_dead_letters_and_kill_no_worker(
    seed: int, endpoints: Endpoints, tmp_path: Path
) -> None:
    site = Site.on(endpoints)
    with site.client() as client:
        doomed = push(client, random.Random(seed))
        quick = {
            "AGENTEXEC_WORKER_CONCURRENCY": "64",
            "AGENTEXEC_RECONCILE_SECONDS": "2",
            "AGENTEXEC_UNKNOWN_TASK_SECONDS": "1",
        }
        with running_pool(site, tmp_path, quick, pool="tests.support.queue_tasks:pool") as pool:
            workers = {worker.pid for worker in pool.workers()}
            client.enqueue_many_sync([TaskRequest(task_name="nap", context=Nap())] * GOOD)
            wait_for(lambda: statuses(client) == {"error": RECORDED, "complete": GOOD})
            wait_for(lambda: client.queue.depth().dead >= len(doomed))
            assert {worker.pid for worker in pool.workers()} == workers, pool.log.read_text()[-5_000:]
            assert pool.http.get("/metrics").status_code == 200
        dead = client.redis.zrange(client.queue.keys.dlq, 0, -1)
        assert set(dead) == doomed
        letters = list(DeadLetters(client.queue).all())
        assert len(letters) == len(doomed)
        assert all(letter.reason for letter in letters)
        depth = client.queue.depth()
        assert (depth.ready, depth.leased, depth.scheduled, depth.known) == (0, 0, 0, len(doomed))
        lines = operator(site, "list", "--json", "--limit", str(len(doomed))).splitlines()
        assert {json.loads(line)["id"] for line in lines} == {letter.task_id for letter in letters}
        assert operator(site, "list", "--limit", "50").endswith(f"50 of {len(doomed)}.\n")
        assert operator(site, "purge", "--all") == f"Purged {len(doomed)} dead letter(s).\n"
        assert client.queue.depth().known == 0
    assert "Traceback" not in pool.log.read_text()


def operator(site: Site, *arguments: str) -> str:
    """What `agentexec dlq` answers."""
    command = [sys.executable, "-m", "agentexec", "dlq", *arguments]
    done = subprocess.run(command, env=site.environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def statuses(client: Client) -> dict[str, int]:
    query = text("SELECT status, count(*) FROM agentexec_activity WHERE queue_name = :queue GROUP BY status")
    with client.engine.connect() as connection:
        rows = connection.execute(query, {"queue": client.queue.name})
        return {status: int(count) for status, count in rows}
