"""docs/production: a newcomer's way from an empty folder to a running, checked, restored and upgraded installation."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from agentexec.config import load_settings
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_postgres import client_program
from harness.environments.ports import free_port
from tests.newcomer.pages import ORDER, PAGES, fences, steps
from tests.newcomer.shell import Shell
from tests.support.environment import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a line of the pages in a shell of this machine, with the addresses of servers of this test."""
    with EmbeddedEnvironment() as servers:
        urls = servers.endpoints
        postgres, redis = urlsplit(urls.database_url), urlsplit(urls.redis_url)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTEXEC_")}
        programs = (tmp_path / "bin", Path(sys.executable).parent, client_program("psql").parent)
        command = programs[0] / "agentexec"  # which an installation of the distribution has
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m agentexec "$@"\n')
        command.chmod(0o755)
        variables = kept | {
            "ADMIN_DATABASE_URL": urls.database_url,
            "REDIS_URL": urls.redis_url,
            "LOCUST_LOAD_LATENESS": "30",  # other tests use this machine
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        }
        texts = {
            "localhost:5432": f"{postgres.hostname}:{postgres.port}",
            "default:redis-password@localhost:6379": f"default:{redis.password}@{redis.hostname}:{redis.port}",
            **{f"{port}": str(free_port()) for port in (9100, 9101, 8000)},
        }
        names = re.compile("|".join(map(re.escape, texts)))
        shell = Shell(["bash", "--norc"], folder=tmp_path, variables=variables)
        try:
            yield lambda line: shell.run(names.sub(lambda found: texts[found[0]], line))
        finally:
            shell.close()


def test_every_command_of_the_path_does_what_its_page_shows(run: Run, tmp_path: Path) -> None:
    assert len(ORDER) == len(list(PAGES.glob("*.md"))) - 1, "a page is not on the path"
    for step in steps(fresh=False):
        code, output = run(step.line)
        logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in tmp_path.glob("*.log"))
        assert code == 0, f"{step.page}: {step.line}\n{output}\n{logs}"
        assert step.fits(output), f"{step.page}: {step.line}\n{output}\n{logs}"


def test_the_addresses_and_rules_of_the_pages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 0
    for page in ORDER:
        for block in fences(page):
            if block["kind"] == "yaml":
                assert YAML(typ="safe").load(block["text"])
            if block["kind"] == "bash" and not block["file"]:
                for name, value in re.findall(r"^(\w+_URL)=(\S+)$", block["text"], re.MULTILINE):
                    lines += 1
                    load_settings(**{name.lower(): value.strip("'")})
    assert lines >= 3
