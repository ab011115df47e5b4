"""Load processes of Locust that come and go while a load runs: real masters and workers, and real signals."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.ports import free_port
from harness.load.system import PoolCommand, SystemUnderLoad
from tests.support.environment import child_environment
from tests.support.load_play import Running, start_locust, write_application

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

QUEUE = "processes"
MASTER = ["--master", "--load-database", "postgres", "--load-queue", QUEUE, "--tags", "quick"]
SOAK = [*MASTER, "--load-shape", "Soak", "--load-canary", "0", "--expect-workers"]


@dataclass(frozen=True)
class Group:
    """Starts load processes of one group, each in a folder of its own."""

    application: Path
    folder: Path
    variables: dict[str, str]
    stack: ExitStack

    def start(self, name: str, *options: str, **variables: str) -> Running:
        run = start_locust(
            self.application, self.folder / name, self.variables | variables, options or ["--worker"]
        )
        self.stack.callback(run.kill)
        return run


@pytest.fixture(scope="module")
def application(servers: EmbeddedEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_application(tmp_path_factory.mktemp("processes"))
    system = SystemUnderLoad(servers, QUEUE)
    system.prepare()
    with ExitStack() as stack:
        stack.callback(system.close)
        pool = PoolCommand(pool="play_app:pool", folder=folder, log=folder / "pool.log", workers=1)
        stack.enter_context(system.pool(pool))
        yield folder


@pytest.fixture
def group(application: Path, servers: EmbeddedEnvironment, tmp_path: Path) -> Iterator[Group]:
    endpoints, port = servers.endpoints, str(free_port())
    variables = child_environment(endpoints.database_url, endpoints.redis_url, "unused")
    variables |= {"LOCUST_MASTER_NODE_PORT": port, "LOCUST_MASTER_BIND_PORT": port}
    with ExitStack() as stack:
        yield Group(application, tmp_path, variables, stack)


def test_a_worker_that_comes_late_sends_a_part_and_one_that_is_stopped_ends_the_load_with_its_verdict(
    group: Group, eventually: Callable[..., object]
) -> None:
    master, first = group.start("master", *SOAK, "1"), group.start("first")
    eventually(lambda: first.acknowledged() not in (0,), 120)
    second, outsider = group.start("second"), group.start("outsider", REDIS_URL="redis://127.0.0.1:1")
    eventually(lambda: second.acknowledged() not in (0, 1, 2, 3, 4), 120)
    assert outsider.end()[0] == 2
    first.process.send_signal(signal.SIGTERM)
    code, output = master.end()
    assert code == 0, output + first.end()[1] + second.end()[1]
    verdict = master.verdict
    counts, facts = verdict["counts"], verdict["facts"]
    assert counts["due"] == counts["acknowledged"] == counts["terminal"]["complete"]
    assert abs(counts["due"] - verdict["planned"]) <= 2, "an arrival was sent by both, or by none"
    assert facts["load processes"] == "2"
    assert facts["joined"].partition(" in second ")[0] in ("2 of 2", "3 of 3"), "the outsider asked first"
    assert "The load worker 1 of 1 was stopped" in output
    assert "A load worker that came late is left out: The servers cannot be used" in output
