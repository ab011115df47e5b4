"""docs/production: a newcomer's way from an empty folder to a running, checked, restored and upgraded installation."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from agentexec.config import load_settings
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_postgres import client_program
from harness.environments.ports import free_port
from tests.support.environment import ROOT
from tests.support.guide import safe_forms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGES = ROOT / "docs" / "production"
ORDER = re.findall(r"^\d+\. \[[^]]+\]\((\w+\.md)\)", (PAGES / "README.md").read_text("utf-8"), re.MULTILINE)
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<line>.*<<'(?P<end>\w+)'\n(?:.*\n)*?(?P=end)$|.*)", re.MULTILINE)
ENDED = "exit code of the command:"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a page, and the lines that the page shows below it."""

    page: str
    line: str
    shown: str

    def fits(self, output: str) -> bool:
        """Whether the output is as the page shows it, where `…` stands for anything; no lines allow any output."""
        pattern = ".*".join(map(re.escape, self.shown.strip().split("…")))
        return not self.shown.strip() or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def fences(page: str) -> Iterator[re.Match[str]]:
    return FENCE.finditer((PAGES / page).read_text("utf-8"))


def commands() -> list[Command]:
    """Every command of the pages, in the order of the path."""
    found = []
    for page in ORDER:
        for block in fences(page):
            if block["kind"] == "console":
                starts = list(COMMAND.finditer(block["text"]))
                ends = [*(start.start() for start in starts[1:]), len(block["text"])]
                for start, end in zip(starts, ends, strict=True):
                    shown = block["text"][start.end() : end]
                    found.append(Command(page=page, line=start["line"], shown=shown))
    return found


class Shell:
    """One shell for the whole path, as a reader has it, in a folder with the files of the pages."""

    def __init__(self, folder: Path, variables: dict[str, str], texts: dict[str, str]) -> None:
        self._texts = texts
        for page in ORDER:
            for block in fences(page):
                if block["file"]:
                    self._write(folder / block["file"], block["text"])
        self._write(folder / "roles.sql", safe_forms()["Roles and grants"])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=variables,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text), "utf-8")

    def _here(self, text: str) -> str:
        """The text with the addresses of these servers."""
        return re.sub("|".join(map(re.escape, self._texts)), lambda found: self._texts[found[0]], text)

    def run(self, line: str) -> tuple[int, str]:
        """Exit code and output of one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self._here(line)}\necho {shlex.quote(ENDED)} $?\n")
        self.process.stdin.flush()
        output = ""
        for read in self.process.stdout:
            before, ended, code = read.partition(ENDED)
            output += before
            if ended:
                return int(code), output
        raise AssertionError(f"the shell ended:\n{output}")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
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
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        }
        texts = {
            "localhost:5432": f"{postgres.hostname}:{postgres.port}",
            "default:redis-password@localhost:6379": f"default:{redis.password}@{redis.hostname}:{redis.port}",
            **{f"{port}": str(free_port()) for port in (9100, 9101, 8000)},
        }
        shell = Shell(tmp_path, variables, texts)
        try:
            yield shell
        finally:
            shell.close()


def test_every_command_of_the_path_does_what_its_page_shows(shell: Shell, tmp_path: Path) -> None:
    assert len(ORDER) == len(list(PAGES.glob("*.md"))) - 1, "a page is not on the path"
    for command in commands():
        code, output = shell.run(command.line)
        logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in tmp_path.glob("*.log"))
        assert code == 0, f"{command.page}: {command.line}\n{output}\n{logs}"
        assert command.fits(output), f"{command.page}: {command.line}\n{output}\n{logs}"


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
