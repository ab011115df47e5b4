"""Load under Locust's own command, against a pool on real servers: no run without evidence ends with 0."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis

from agentexec.task import UncheckedContext
from harness.cli import main
from harness.environments.base import Service
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.ports import free_port
from harness.llm import Endpoint, EndpointProfile, serving
from harness.load.producing import RUN_KEY
from harness.load.system import PoolCommand, SystemUnderLoad
from harness.load.target import LoadTarget
from harness.load.traces import read_trace
from tests.support.environment import child_environment
from tests.support.load_play import Running, start_locust, write_application

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

QUEUE, UNKNOWN = "play", "unserved"
QUICK = ["--tags", "quick"]
NAMED = ["--load-database", "postgres", "--load-queue", QUEUE]
LONG = ["--load-shape", "Long"]
UNSERVED = ["--load-database", "postgres", "--load-queue", UNKNOWN]
PRICES = '{"currency": "USD", "models": {"*": {"input": 0.5, "cached": 0.05, "output": 5}}}'
# All are started together, since most of their time is the start of Python and waiting.
OPTIONS = {
    "good": [*NAMED, *QUICK, "--csv", "out", "--csv-full-history", "--html", "page.html"],
    "tail": [*NAMED, "--tags", "slow", "--processes", "2"],
    "errors": [*NAMED, "--tags", "wrong", "--load-canary", "0", "--html", "page.html"],
    "no workers": [*UNSERVED, *QUICK, "--load-canary", "0", "--load-drain", "1", "--html", "page.html"],
    "wrong queue": [*UNSERVED, *QUICK],
    "billed": [*NAMED, "--tags", "asking", "-f", "billed.py", "--load-prices", "prices.json"],
    "closed": [*NAMED, *QUICK, "-f", "closed.py", "--users", "2", "--run-time", "2s"],
    "brake": [
        *UNSERVED[:-1],
        "deep",
        *QUICK,
        *LONG,
        "--load-canary",
        "0",
        "--load-drain",
        "1",
        "--load-brake",
        "5",
    ],
    "no redis": [*NAMED, *QUICK, "--host", "redis://127.0.0.1:1"],
    "stray .env": ["--load-queue", QUEUE],
}


@pytest.fixture(scope="module")
def urls(servers: EmbeddedEnvironment) -> dict[str, str]:
    endpoints = servers.endpoints
    return child_environment(endpoints.database_url, endpoints.redis_url, "unused")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serving(EndpointProfile(time_scale=100)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def runs(
    servers: EmbeddedEnvironment,
    urls: dict[str, str],
    endpoint: Endpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Running]]:
    folder = tmp_path_factory.mktemp("load")
    application = write_application(folder)
    (folder / "prices.json").write_text(PRICES, "utf-8")
    system = SystemUnderLoad(servers, QUEUE)
    system.prepare()
    pool = PoolCommand(
        pool="play_app:pool",
        folder=application,
        log=folder / "pool.log",
        concurrency=16,
        variables={"AGENTEXEC_MAX_TASK_RETRIES": "0", **endpoint.variables},
    )
    with ExitStack() as stack:
        stack.callback(system.close)
        stack.enter_context(system.pool(pool))
        started: dict[str, Running] = {}
        for name, options in OPTIONS.items():
            words = [str(application / word) if word.endswith((".py", ".json")) else word for word in options]
            words += ["--load-meter", endpoint.root] if name == "billed" else []
            given = {
                key: value for key, value in urls.items() if name != "stray .env" or key != "DATABASE_URL"
            }
            started[name] = start_locust(application, folder / name, given, words)
            stack.callback(started[name].kill)
        yield started


@pytest.fixture
def long_run(
    request: pytest.FixtureRequest,
    runs: dict[str, Running],
    urls: dict[str, str],
    eventually: Callable[..., object],
) -> Iterator[Running]:
    """A load of 6 s, in the middle of it."""
    folder = runs["good"].folder.parent
    run = start_locust(folder, folder / request.node.name, urls, [*NAMED, *QUICK, *LONG, *request.param])
    try:
        assert eventually(run.acknowledged, 60) != -1
        yield run
    finally:
        run.kill()


def test_an_open_load_is_met_and_all_of_locusts_own_tables_have_its_last_second(
    runs: dict[str, Running], urls: dict[str, str]
) -> None:
    run = runs["good"]
    code, output = run.end()
    assert code == 0, output
    counts, rows = run.verdict["counts"], run.verdict["rows"]
    due = counts["due"]
    assert counts["sent"] == counts["acknowledged"] == counts["terminal"]["complete"] == due == 20
    assert {name for name in rows if "answer" in name} == {
        "ENQUEUE answer", "LATE answer", "RUN answer", "TASK answer", "WAIT answer"
    }  # fmt: skip
    assert rows["TASK answer"]["latency"]["p50"] >= rows["RUN answer"]["latency"]["p50"] > 0
    with (run.folder / "out_stats.csv").open(newline="") as file:
        written = {row["Type"]: int(row["Request Count"]) for row in csv.DictReader(file)}
    assert written == {"": 5 * due} | dict.fromkeys(("ENQUEUE", "LATE", "RUN", "TASK", "WAIT"), due)
    assert (run.folder / "report" / "junit.xml").exists()
    assert "load met" in (run.folder / "report" / "summary.md").read_text("utf-8")


def test_clean_removes_everything_of_a_run_and_nothing_else(
    runs: dict[str, Running], urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs["good"].end()
    run_id = runs["good"].verdict["facts"]["run"]
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(name, urls[name])
    of_run = "SELECT id::text FROM agentexec_activity WHERE metadata->>'harness_run' = %s"
    with psycopg.connect(urls["DATABASE_URL"]) as postgres, redis.Redis.from_url(urls["REDIS_URL"]) as keys:
        ids = [row[0] for row in postgres.execute(of_run, [run_id])]
        (others,) = postgres.execute(f"SELECT count(*) - {len(ids)} FROM agentexec_activity").fetchone() or ()
        postgres.rollback()
        assert len(ids) == 20 + 1, "the load and its canary"
        assert keys.exists(*[f"result:{one}" for one in ids]) == len(ids)
        assert main(["load", "clean", run_id]) == 64, "the database has to be named"
        assert main(["load", "clean", run_id, "--load-database", "postgres"]) == 0
        assert postgres.execute(of_run, [run_id]).fetchall() == []
        assert keys.exists(*[f"result:{one}" for one in ids]) == 0
        (left,) = postgres.execute("SELECT count(*) FROM agentexec_activity").fetchone() or ()
    assert left >= others


def test_export_writes_the_arrivals_of_ones_own_queue_without_those_of_load(
    runs: dict[str, Running], urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(name, urls[name])
    with LoadTarget.make(database="postgres", host=None, variables=urls).client("exported") as client:
        for number, metadata in enumerate([None, {"own": 1}, {RUN_KEY: "load-1"}]):
            client.enqueue_sync("mine", UncheckedContext({"secret": number}), metadata=metadata)
    file = tmp_path / "trace.csv"
    options = ["--load-queue", "exported", "--load-database", "postgres"]
    assert main(["load", "export", str(file), *options]) == 0
    assert [row.task for row in read_trace(file)] == ["mine", "mine"]
    assert "secret" not in file.read_text("utf-8")


def test_the_tail_of_several_processes_is_waited_for(runs: dict[str, Running]) -> None:
    code, output = runs["tail"].end()
    assert code == 0, output
    counts = runs["tail"].verdict["counts"]
    assert counts["due"] == counts["acknowledged"] == counts["terminal"]["complete"] == 20
    assert runs["tail"].verdict["rows"]["TASK answer"]["latency"]["max"] > 1.5
    assert runs["tail"].verdict["facts"]["load processes"] == "2"


@pytest.mark.parametrize(
    ("name", "failure"),
    [("errors", "the task ended as error"), ("no workers", "not terminal 1 s after the end of the load")],
)
def test_tasks_that_do_not_complete_are_failures_in_the_verdict_and_in_locusts_page(
    name: str, failure: str, runs: dict[str, Running]
) -> None:
    code, output = runs[name].end()
    assert code == 1, output
    assert runs[name].verdict["rows"]["TASK answer"]["errors"] == runs[name].verdict["counts"]["due"] == 20
    assert failure in (runs[name].folder / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("wrong queue", 2, "No worker serves the queue 'unserved'"),
        ("no redis", 2, "The servers cannot be used"),
        ("stray .env", 64, "There is no DATABASE_URL"),
    ],
)
def test_a_load_that_cannot_begin_says_why(
    name: str, code: int, sentence: str, runs: dict[str, Running]
) -> None:
    found, output = runs[name].end()
    assert found == code, output
    assert sentence in output
    assert runs[name].acknowledged() == -1
    assert not (runs[name].folder / "report").exists()


def test_tokens_and_money_of_an_endpoint_are_thresholds(runs: dict[str, Running]) -> None:
    code, output = runs["billed"].end()
    assert code == 0, output
    figures = runs["billed"].verdict["rows"]["ALL"]["figures"]
    # Each task asks for 100 + 10 tokens; the canary is not of the load.
    assert (figures["tokens"], figures["tokens_again"], figures["cost"]) == (2200, 0, 0.002)
    used = {one["name"]: one["max"] for one in runs["billed"].verdict["resources"]}
    assert used["LLM endpoint memory"] > 10**7
    assert "ALL: cost &lt; 0.0023 USD" in (runs["billed"].folder / "report" / "summary.md").read_text("utf-8")


def test_a_closed_model_is_judged_and_named(runs: dict[str, Running]) -> None:
    code, output = runs["closed"].end()
    assert code == 0, output
    assert runs["closed"].verdict["facts"]["model"] == "closed"
    assert runs["closed"].verdict["counts"]["terminal"]["complete"] > 0
    sampled = {one["name"] for one in runs["closed"].verdict["resources"] if one["max"] is not None}
    assert {"Postgres WAL", "Redis CPU", "workers CPU", "generator CPU"} <= sampled


def test_the_brake_ends_a_load_whose_queue_gets_too_deep(runs: dict[str, Running]) -> None:
    code, output = runs["brake"].end()
    assert code != 0, output
    assert any("the brake ended the load" in doubt["text"] for doubt in runs["brake"].verdict["doubts"])
    assert 5 < runs["brake"].verdict["counts"]["due"] < 100


def test_the_web_page_decides_the_host_the_queue_and_the_users(
    runs: dict[str, Running], urls: dict[str, str], eventually: Callable[..., object]
) -> None:
    port = free_port()
    folder = runs["good"].folder.parent
    given = urls | {"REDIS_URL": "redis://127.0.0.1:1"}
    options = [*UNSERVED, *QUICK, "--web-host", "127.0.0.1", "--web-port", str(port), "--class-picker"]
    run = start_locust(folder, folder / "web", given, options)
    form = {"user_count": 5, "spawn_rate": 5, "host": urls["REDIS_URL"], "load_queue": QUEUE}
    form |= {"user_classes": "Chat", "shape_class": "Second"}

    def started() -> bool:
        try:
            answer = httpx.post(f"http://127.0.0.1:{port}/swarm", data=form, timeout=30)
        except httpx.TransportError:
            return False
        return bool(answer.json()["success"])

    try:
        eventually(started, 60, every=0.5)
        eventually(lambda: (run.folder / "report" / "verdict.json").exists() or run.acknowledged() == -1, 60)
        run.process.terminate()
        code, output = run.end()
    finally:
        run.kill()
    assert code == 0, output
    assert run.verdict["counts"]["terminal"] == {"complete": 20}


@pytest.mark.parametrize("long_run", [["--load-lateness", "0.05"]], indirect=True)
def test_a_generator_that_stood_still_is_not_measurable_and_no_arrival_is_missing(long_run: Running) -> None:
    os.kill(long_run.process.pid, signal.SIGSTOP)
    time.sleep(1.5)  # the length of the stop
    os.kill(long_run.process.pid, signal.SIGCONT)
    code, output = long_run.end()
    assert code == 2, output
    assert "generator-late" in [doubt["kind"] for doubt in long_run.verdict["doubts"]]
    assert long_run.verdict["generator"]["lateness"]["max"] > 1.3
    assert long_run.verdict["counts"]["due"] == long_run.verdict["planned"] == 120


def test_a_signal_while_the_tasks_are_waited_for_ends_with_their_verdict(
    runs: dict[str, Running], urls: dict[str, str], eventually: Callable[..., object]
) -> None:
    folder = runs["good"].folder.parent
    options = [*NAMED, "--tags", "slow", "--load-canary", "0"]
    with ExitStack() as stack:
        started: dict[signal.Signals, Running] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            started[number] = start_locust(folder, folder / number.name, urls, options)
            stack.callback(started[number].kill)
        for number, run in started.items():
            eventually(lambda run=run: run.stopped() or run.acknowledged() == -1, 60)
            run.process.send_signal(number)
        for run in started.values():
            code, output = run.end()
            assert code == 0, output
            assert run.verdict["counts"]["terminal"] == {"complete": 20}


@pytest.mark.parametrize(
    ("stopped", "breached", "met"),
    [
        # Enqueued tasks wait for a start.
        ("workers", {"TASK answer p75", "WAIT answer p75"}, {"ENQUEUE answer p75", "RUN answer p75"}),
        # The first commits, and waits for its message; no later one is acknowledged.
        ("redis", {"TASK answer p75", "ENQUEUE answer p75", "WAIT answer max"}, {"WAIT answer p75"}),
        # Nothing commits.
        ("postgres", {"TASK answer p75", "ENQUEUE answer p75"}, {"WAIT answer p75", "RUN answer p75"}),
    ],
)
def test_a_stop_in_the_middle_of_a_load_is_seen_where_it_was(
    stopped: str,
    breached: set[str],
    met: set[str],
    runs: dict[str, Running],
    servers: EmbeddedEnvironment,
    urls: dict[str, str],
    eventually: Callable[..., object],
) -> None:
    """With the stop of the generator, which is not measurable, these are four different verdicts."""
    for other in runs.values():  # they use the same servers
        other.end()
    folder = runs["good"].folder.parent
    options = [*NAMED, *QUICK, "-f", str(folder / "stops.py"), "--load-canary", "0"]
    run = start_locust(folder, folder / f"stopped-{stopped}", urls, options)
    try:
        assert eventually(run.acknowledged, 60) != -1
        with stopping(stopped, servers):
            time.sleep(2.5)  # the length of the stop
        code, output = run.end()
    finally:
        run.kill()
    found = {f"{one['row']} {one['statistic']}": one["outcome"] for one in run.verdict["thresholds"]}
    assert (code, {found[one] for one in breached}, {found[one] for one in met}) == (
        1,
        {"breached"},
        {"met"},
    ), output


@contextmanager
def stopping(what: str, servers: EmbeddedEnvironment) -> Iterator[None]:
    """The workers or a server stand still (SIGSTOP)."""
    pools = [one for one in psutil.Process().children() if "play_app:pool" in one.cmdline()]
    workers = [one for pool in pools for one in (pool, *pool.children(recursive=True))]
    with ExitStack() as stack:
        if what in {"redis", "postgres"}:
            service: Service = "redis" if what == "redis" else "postgres"
            stack.callback(servers.resume, service)
            servers.pause(service)
        else:
            for one in workers:
                stack.callback(one.resume)
                one.suspend()
        yield


@pytest.mark.parametrize("long_run", [["--processes", "2"]], indirect=True)
def test_a_killed_load_worker_is_not_measurable(long_run: Running) -> None:
    psutil.Process(long_run.process.pid).children()[0].kill()
    code, output = long_run.end()
    assert code == 2, output
    assert (long_run.folder / "report" / "verdict.json").exists(), output
    assert "load-worker-lost" in [doubt["kind"] for doubt in long_run.verdict["doubts"]]
    assert_all_resources_are_known(long_run)


def assert_all_resources_are_known(run: Running) -> None:
    """Pool, servers and generator are processes of this machine; they are found by what workers and servers publish."""
    found = {one["name"]: one for one in run.verdict["resources"]}
    assert {name: one["why"] for name, one in found.items() if one["max"] is None or one["why"]} == {}
    assert found["workers"]["max"] == 2
    assert (
        found["Postgres WAL"]["per_task"] == run.verdict["rows"]["ALL"]["figures"]["wal_bytes_per_task"] > 100
    )
    assert found["workers memory"]["max"] > 2 * 10**7
    assert {log["count"] for log in run.verdict["logs"]} == {None}
    slices = json.loads((run.folder / "report" / "series.json").read_text("utf-8"))["slices"]
    assert {"enqueue", "wait", "run"} == {name for one in slices for name in one["stages"]}
