"""Runs of applications of other queues, each in the environment of the shipped adapter of its system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.history import History
from harness.targets.adapter import SHIPPED
from harness.targets.adapter_environment import AdapterEnvironment
from harness.targets.adapter_file import read_adapter

ROOT = Path(__file__).parents[2]

# The scenario with its first kill, which is aimed at a task whose handler has booked.
SCENARIO = """
from dataclasses import replace
from harness.scenario import registry
from harness.scenario.scaling import with_faults

SCENARIO = with_faults(registry.scenario("kill-worker-mid-task"), 1)
SCENARIO = replace(SCENARIO, pool=replace(SCENARIO.pool, lease=2.0, workers=2))
"""
# Each task books twice: in a table that has one row for a task, and in one that has a row for each run.
# A task that a schedule enqueued notes that it ran.
SHOP = """
import asyncio
import os
import psycopg

def create_tables(url):
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS {name}_unsafe, {name}_safe, {name}_tocked")
        connection.execute("CREATE TABLE {name}_unsafe (task text)")
        connection.execute("CREATE TABLE {name}_safe (task text PRIMARY KEY)")
        connection.execute("CREATE TABLE {name}_tocked ()")

def book(task):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO {name}_unsafe VALUES (%s)", (str(task),))
        connection.execute("INSERT INTO {name}_safe VALUES (%s) ON CONFLICT DO NOTHING", (str(task),))

def tocked():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO {name}_tocked DEFAULT VALUES")

async def until_tocked():
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        while not await (await connection.execute("SELECT FROM {name}_tocked LIMIT 1")).fetchall():
            await asyncio.sleep(0.05)
"""
CHAOS = """
import shop
from harness.testing import app
from shop_plan import make

SHOP = app(shop.application, setup=shop.create_tables, make=make)

@SHOP.invariant("unsafe", sql="SELECT task, count(*) FROM {name}_unsafe GROUP BY 1")
@SHOP.invariant("safe", sql="SELECT task, count(*) FROM {name}_safe GROUP BY 1")
def once(rows, completed):
    return {{task for task in completed if rows.get(task) != 1}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnRun:
    """What a run gave: its output, its verdicts by checker, and its history."""

    output: str
    code: int
    verdicts: dict[str, str]
    history: History

    def values(self, f: str, kind: str) -> list[Any]:
        """The values of the operations `f` of a type."""
        return [op.value for op in self.history.where(f) if op.type == kind]

    @property
    def scheduled(self) -> set[str]:
        """The names of the tasks that a schedule ran, for which no drain waits."""
        return {one["name"] for one in self.values("child", "ok") if one.get("scheduled")}

    def judge(self, *, repeated: set[int], child: str) -> None:
        """The unsafe table names the tasks that ran twice, the safe one none; nothing else is INVALID.

        `repeated` are tasks whose first attempt fails, and `child` is the name of a task that another one enqueues.
        """
        judged = dict(self.verdicts)
        assert judged.pop("invariant: unsafe") == "INVALID", self.output
        assert judged["invariant: safe"] == "VALID"
        assert "INVALID" not in judged.values(), judged
        assert "kill-worker-mid-task, invariant: unsafe: broken " in self.output
        assert self.code == 1
        assert {one["task"] for one in self.values("run", "fail")} >= repeated, "the first attempt fails"
        ended = {one["task"] for one in self.values("record", "info") if one["status"] == "complete"}
        assert ended == {one["task"] for one in self.values("run", "ok")} >= repeated
        assert child in {one["name"] for one in self.values("child", "ok")}


def packages_of(name: str, profile: str = "") -> str:
    """The packages of the environment of a shipped adapter, installed once."""
    environment = AdapterEnvironment(read_adapter(SHIPPED / name, profile))
    environment.create(print)
    [site] = environment.folder.glob("lib/python*/site-packages")
    return str(site)


def run_own_app(
    folder: Path,
    packages: str,
    *,
    name: str,
    shop: str,
    make: str,
    options: tuple[str, ...] = (),
    **variables: str,
) -> OwnRun:
    """Run an application whose module is `shop` with the tasks of `make`; `name` begins its tables.

    `options` are those of the command, and `variables` those of its environment.
    """
    (folder / "shop.py").write_text(SHOP.format(name=name) + shop)
    (folder / "shop_plan.py").write_text(make)
    (folder / "chaos_shop.py").write_text(CHAOS.format(name=name))
    (folder / "one_kill.py").write_text(SCENARIO)
    arguments = [
        "one_kill:SCENARIO",
        "--app",
        "chaos_shop:SHOP",
        "--seed",
        "1",
        "--tasks",
        "10",
        "--report",
        "report",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "chaos", "run", *arguments, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), packages]), **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    output = done.stdout + done.stderr
    assert (folder / "report" / "verdict.json").exists(), output
    [found] = json.loads((folder / "report" / "verdict.json").read_text("utf-8"))["scenarios"]
    return OwnRun(
        output=output,
        code=done.returncode,
        verdicts={name: one["verdict"] for name, one in found["checkers"].items()},
        history=History.load(folder / "report" / "history" / "kill-worker-mid-task"),
    )
