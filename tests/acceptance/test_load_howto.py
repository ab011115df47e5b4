"""The how-to of load, followed word for word: its files and its commands, on a staging that the test makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from agentexec.core.db import create_schema
from examples.api_app import Document
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.ports import free_port
from harness.load.files import read_load
from harness.load.traces import read_trace
from tests.support.environment import ROOT
from tests.support.production import Site, running_pool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "howto" / "load.md").read_text("utf-8")
# The later commands are those of a checkout, or need what other pages make; other tests run them.
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.partition("## CI")[0], re.MULTILINE | re.DOTALL)
    for line in re.split(r"\n(?=\$ )", block.strip())
]
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))

OTHERS = ("harness load clean", "harness load export")
LOADS = [command for command in COMMANDS if not command.startswith(OTHERS)]
WORKER = "locust -f locustfile.py --worker"
ROWS = {f"{kind} summarise" for kind in ("ENQUEUE", "LATE", "RUN", "TASK", "WAIT")}


@dataclass(frozen=True, kw_only=True)
class Staging:
    """A shell in the folder that the page asks for, on the servers of an application that runs."""

    folder: Path
    variables: dict[str, str]

    def start(self, command: str, output: Path) -> subprocess.Popen[bytes]:
        with output.open("wb") as file:
            # The reader of the page has a shell; `exec` lets the test end the command itself.
            return subprocess.Popen(
                f"exec {command}",
                shell=True,
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def run(self, beginning: str) -> tuple[int, str]:
        """The exit code and the output of the command of the page that begins so."""
        (command,) = (one for one in COMMANDS if one.startswith(beginning))
        output = self.folder / "output"
        code = self.start(command, output).wait(60)
        return code, output.read_text("utf-8")


@pytest.fixture(scope="module")
def staging(servers: EmbeddedEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staging]:
    folder = tmp_path_factory.mktemp("newcomer")
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    shutil.copy(ROOT / "examples" / "api_app.py", folder)
    urls = servers.endpoints
    with psycopg.connect(urls.database_url, autocommit=True) as postgres:
        postgres.execute("CREATE DATABASE staging")
    url = urlsplit(urls.database_url)._replace(path="/staging").geturl()
    site = Site(endpoints=urls.replace({"postgres": url}), queue="documents")
    with site.client() as client:
        create_schema(client.engine)
        client.enqueue_sync("summarise", Document(text="A task of the application's own."))
    with running_pool(site, folder, pool="examples.api_app:pool", workers=1):
        port = str(free_port())
        given = {
            "LOAD_MASTER": "127.0.0.1",
            "LOCUST_MASTER_NODE_PORT": port,
            "LOCUST_MASTER_BIND_PORT": port,
            "LOCUST_LOAD_LATENESS": "30",  # other tests use this machine
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        yield Staging(folder=folder, variables=site.environment(**given))


@pytest.fixture(scope="module")
def loads(staging: Staging, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit code and output of each load of the page. They run together; there are two workers, as the page says."""
    folder = tmp_path_factory.mktemp("outputs")
    with ExitStack() as stack:
        started = {}
        for number, command in enumerate([*LOADS, *(one for one in LOADS if one.startswith(WORKER))]):
            process = staging.start(command, folder / str(number))
            stack.callback(process.kill)
            started[f"{command} # {number}"] = (process, folder / str(number))
        return {one: (process.wait(200), path.read_text("utf-8")) for one, (process, path) in started.items()}


def test_each_load_of_the_page_ends_with_0(loads: dict[str, tuple[int, str]]) -> None:
    for command, (code, output) in loads.items():
        assert code == 0, f"{command}\n{output}"


@pytest.mark.parametrize(("report", "processes"), [("smoke", "1"), ("two", "2")])
def test_a_load_has_rows_by_the_task_names_of_the_application(
    report: str, processes: str, loads: dict[str, tuple[int, str]], staging: Staging
) -> None:
    verdict = read_load(staging.folder / "reports" / report)
    counts, rows = verdict["counts"], verdict["rows"]
    assert rows.keys() >= ROWS
    assert verdict["facts"]["load processes"] == processes
    assert counts["due"] == counts["terminal"]["complete"] == rows["TASK summarise"]["count"] > 5


def test_clean_leaves_nothing_of_a_load_and_says_so(
    loads: dict[str, tuple[int, str]], staging: Staging
) -> None:
    verdict = read_load(staging.folder / "reports" / "smoke")
    code, output = staging.run(OTHERS[0])
    assert (code, f"removed {verdict['counts']['due'] + 1} tasks" in output) == (0, True), output
    run = verdict["facts"]["run"]
    of_run = "SELECT count(*) FROM agentexec_activity WHERE metadata->>'harness_run' = %s"
    with psycopg.connect(staging.variables["DATABASE_URL"]) as postgres:
        assert postgres.execute(of_run, [run]).fetchone() == (0,)
    code, output = staging.run(OTHERS[0])
    assert (code, f"has no task of the run {run}" in output) == (64, True), output


def test_export_writes_the_applications_own_tasks(
    loads: dict[str, tuple[int, str]], staging: Staging
) -> None:
    code, output = staging.run(OTHERS[1])
    assert code == 0, output
    assert [row.task for row in read_trace(staging.folder / "trace.csv")] == ["summarise"], "no load"
