"""The parts of `nox -s peers` that need no server: reading, medians, ratios, tables and the page."""

from __future__ import annotations

import json
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from harness.errors import UsageError
from harness.processes import tree_seconds
from harness.report.compare import Change, compare
from loadtests.peers.catalog import OURS, SYSTEMS, all_peers, chosen
from loadtests.peers.costs import spent
from loadtests.peers.measure import Stamp, uneven
from loadtests.peers.plot import picture
from loadtests.peers.result import PeerResult, document, unit_of
from loadtests.peers.tables import BEGIN, END, replaced, tables

RUN = {
    "servers": {"postgres": "PostgreSQL 18.6", "redis": "Valkey 9.1.2"},
    "rounds": 3,
    "quick": False,
    "recovery_seconds": 8.0,
    "deadlocks": {},
}
MARKED = f"above\n\n{BEGIN}\nold\n{END}\n\nbelow\n"


def result(name: str, *rounds: dict[str, float | None], errors: tuple[str, ...] = ()) -> PeerResult:
    """The rounds of a peer of the catalog."""
    peer = all_peers()[name]
    return PeerResult(peer=peer, version="1.0", rounds=list(rounds), loads=[0.5], errors=list(errors))


def drains(*rates: float) -> list[dict[str, float | None]]:
    """Rounds with costs, whose sparse pick-up takes as many milliseconds as the round has a number."""
    return [
        {
            "drain": rate,
            "drain.workers": 60.0,
            "drain.postgres": 40.0,
            "drain.redis": 5.0,
            "sparse-call-p50": float(number),
            "sparse-call-p99": 10.0 * number,
            "recovery": 1.0,
        }
        for number, rate in enumerate(rates, 1)
    ]


def both() -> dict[str, Any]:
    """A run of agentexec and PgQueuer."""
    lost = [{**one, "recovery": None} for one in drains(9_000, 4_000, 3_000)]
    others = result("pgqueuer-asyncpg", *lost, errors=("1 of 3 tasks were lost and 0 doubled",))
    return document([result(OURS, *drains(3_000, 2_000, 1_000)), others], RUN)


# Uses 0.1 s in a child that ends, and 0.1 s in one that stays until standard input ends.
TREE = """
import os, sys, time
def use():
    while time.process_time() < 0.1: pass
if not os.fork():
    use(); os._exit(0)
os.wait()
if not os.fork():
    use(); print(flush=True)
sys.stdin.read()
"""


def test_the_time_of_a_tree_has_all_processes_below_and_those_that_ended() -> None:
    command = [sys.executable, "-c", TREE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = psutil.Process(process.pid).cpu_times()
        below = tree_seconds([process.pid]) - own.user - own.system
    assert below > 0.15
    assert tree_seconds([process.pid]) == 0.0  # it has ended


@pytest.mark.timeout(10)
def test_a_redis_that_closes_the_connection_of_a_peer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer read the end of the connection again and again, until the measurement gave it up."""
    for name in ("QUEUE", "VARIANT", "REDIS_URL", "DATABASE_URL", "FOLDER"):
        monkeypatch.setenv(f"PEER_{name}", "x")
    monkeypatch.setenv("PEER_WORKERS", "2")
    kit = runpy.run_path(str(SYSTEMS / "peer_kit.py"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        redis = kit["Redis"].__new__(kit["Redis"])
        redis.socket = ours
        theirs.sendall(b":1")
        theirs.close()
        with pytest.raises(ConnectionError, match="closed the connection"):
            redis.answer()


def test_costs_are_microseconds_and_bytes_per_task() -> None:
    assert spent({"redis": 1.0, "wal": 100.0}, {"redis": 1.5, "wal": 300.0}, 100) == {
        "redis": 5000.0,
        "wal": 2.0,
    }


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ([0, 1, 2], ""),
        ([0, 2], "1 of 3 tasks were lost and 0 doubled"),
        ([0, 1, 1, 2], "0 of 3 tasks were lost and 1 doubled"),
    ],
)
def test_every_task_has_to_begin_exactly_once(numbers: list[int], wrong: str) -> None:
    assert uneven([Stamp.of(f"{number} 5") for number in numbers], range(3)) == wrong


def test_a_figure_has_its_median_its_spread_and_the_median_of_the_ratios_of_the_rounds() -> None:
    [drain, *_] = both()["results"]["pgqueuer-asyncpg"]
    assert {key: drain[key] for key in ("median", "min", "max", "ratio", "unit", "higher_is_better")} == {
        "median": 4_000,
        "min": 3_000,
        "max": 9_000,
        "ratio": 3.0,
        "unit": "tasks/s",
        "higher_is_better": True,
    }


def test_a_ratio_needs_as_many_rounds_of_ours() -> None:
    found = document([result(OURS, *drains(1_000)), result("huey", *drains(1_000, 1_000))], RUN)
    assert found["results"]["huey"][0]["ratio"] is None


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("enqueue-one", "tasks/s"),
        ("enqueue-one.wal", "bytes/task"),
        ("drain.commits", "per task"),
        ("drain.workers", "µs/task"),
        ("dense-call-p99", "ms"),
        ("exit", "s"),
    ],
)
def test_the_name_of_a_figure_says_its_unit(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_two_runs_can_be_compared(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("before.json", "after.json")]
    for file, rates in zip(files, ((1_000, 1_100), (2_000, 2_100)), strict=True):
        file.write_text(json.dumps(document([result(OURS, *drains(*rates))], RUN)), "utf-8")
    rows = {row.name: row for row in compare(*files).rows}
    assert rows["agentexec: drain"].change is Change.BETTER


def test_the_tables_have_medians_ratios_sums_and_what_did_not_happen() -> None:
    text = tables(both(), plot="peers.svg")
    assert "| **agentexec** | 2,000 (1.00) |" in text
    assert "| PgQueuer, asyncpg | 4,000 (3.00) |" in text
    assert "| 2.00 / 20.0 |" in text
    assert "| PgQueuer, asyncpg | 105 | 60.0 | 40.0 | 5.00 |" in text
    assert "| 3,000 to 9,000 |" in text
    assert "| > 8 |" in text
    assert "1 of 3 tasks were lost" in text
    assert "](peers.svg)" in text


def test_a_peer_without_figures_is_a_row_of_dashes() -> None:
    text = tables(document([result("huey", errors=("it does not start",))], RUN))
    assert "| huey | — | — | — | — | — / — |" in text
    assert "**huey**: it does not start" in text


def test_the_tables_replace_what_is_between_the_markers_of_a_page() -> None:
    once = replaced(MARKED, "new")
    assert once == f"above\n\n{BEGIN}\n\nnew\n\n{END}\n\nbelow\n"
    assert replaced(once, "new") == once


@pytest.mark.parametrize("page", ["", MARKED + MARKED, f"{END}\n{BEGIN}\n"])
def test_a_page_without_one_pair_of_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        replaced(page, "new")


def test_the_picture_names_every_peer_and_is_xml() -> None:
    without = result("huey", errors=("it does not start",))
    run = both()
    run["peers"] |= document([without], RUN)["peers"]
    run["results"]["huey"] = []
    texts = [element.text for element in ElementTree.fromstring(picture(run)).iter() if element.text]
    assert {"agentexec", "PgQueuer, asyncpg", "huey", "2,000", "2.00 / 20.0"} <= set(texts)


def test_the_catalog_has_ours_first_and_a_module_and_pins_for_each_peer() -> None:
    peers = all_peers()
    assert next(iter(peers)) == OURS
    for peer in peers.values():
        assert (SYSTEMS / f"{peer.module}.py").exists()
        assert peer.records
        assert peer.loses
        assert peer.source
        assert peer.loss_source
        assert bool(peer.requirements) is (peer.name != OURS)
        assert peer.command("python")[0] == "python"


def test_a_name_may_be_the_beginning_of_several_peers() -> None:
    peers = all_peers()
    assert [peer.name for peer in chosen(["pgqueuer", "huey"], peers)] == [
        "pgqueuer-asyncpg",
        "pgqueuer-psycopg",
        "huey",
    ]
    assert len(chosen([], peers)) == len(peers)
    with pytest.raises(UsageError, match="no peer 'pg'"):
        chosen(["pg"], peers)
