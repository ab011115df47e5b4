"""The noxfile: its sessions, the calls of CI, the pins, and the errors for a wrong Python."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROMISED = {"lint", "types", "tests", "chaos", "load", "containers", "simulate"}
ASIDE = {
    "lock",
    "bench",
    "planted",
    "nightly",
    "mutation",
}  # for people; CI has no idle machine and no hours


@cache
def noxfile() -> ModuleType:
    """The noxfile as a module, its sessions registered with nox."""
    spec = importlib.util.spec_from_file_location("noxfile_under_test", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session_names() -> set[str]:
    """Names of the functions that the noxfile decorates as sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if "nox.session" in [ast.unparse(mark) for mark in f.decorator_list]}


def pins() -> dict[str, str]:
    """Names and versions that constraints.txt pins; every line of it that is not a comment has to be a pin."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_noxfile_has_the_promised_sessions_and_those_for_people() -> None:
    assert session_names() == PROMISED | ASIDE


def test_plain_nox_runs_what_a_pull_request_must_pass() -> None:
    assert list(noxfile().nox.options.sessions) == ["lint", "types", "tests", "chaos"]


def test_ci_calls_every_session_and_nothing_that_is_not_one() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    loop = re.search(r"^for session in (.+); do$", script, re.MULTILINE)
    assert loop is not None
    assert set(loop.group(1).split()) == PROMISED
    assert 'python3 noxfile.py -s "$session"' in script


def test_the_hosted_workflow_only_calls_sessions() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    commands = re.findall(r"run: (.+)", workflow)
    called = {name for command in commands for name in re.findall(r"^python3 noxfile\.py -s (\S+)$", command)}
    named = {
        name.strip() for names in re.findall(r"session: \[(.+)\]", workflow) for name in names.split(",")
    }
    assert len(commands) == len(
        [command for command in commands if command.startswith("python3 noxfile.py -s ")]
    )
    assert (called | named) - {"${{"} == PROMISED


def test_the_pins_name_no_place_to_fetch_from() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert re.search(r"://|--|@", text) is None


def test_every_requirement_of_the_project_is_pinned_to_a_version_that_it_allows() -> None:
    pinned = pins()
    wanted = [Requirement(text) for text in noxfile().everything()]
    unmet = [str(r) for r in wanted if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))]
    assert unmet == []


@pytest.mark.parametrize(
    ("wanted", "chosen", "missing"),
    [
        (["a"], {"a": []}, []),
        (["a"], {"a": ["b>=2"]}, ["b>=2"]),
        (["a"], {"a": ["b; sys_platform == 'darwin'"]}, ["b"]),
        (["a"], {"a": ["b; sys_platform == 'win32'"]}, []),
        (["a"], {"a": ["b; python_version < '3.11'"]}, []),
        (["a"], {"a": ["b; python_full_version < '3.11.3'"]}, ["b"]),
        (["a"], {"a": ["b; python_version >= '3.13'"]}, ["b"]),
        (["a"], {"a": ["b; platform_machine == 'arm64' and platform_system == 'Darwin'"]}, ["b"]),
        (["a"], {"a": ["b; extra == 'more'"]}, []),
        (["a[more]"], {"a": ["b; extra == 'more'"]}, ["b"]),
        (["a", "a[more]"], {"a": ["B.c; extra == 'more'"]}, ["B.c"]),
        (["a"], {"a": ["b"], "b": ["a", "c"]}, ["c"]),
    ],
)
def test_what_another_python_or_platform_needs_is_found(
    wanted: list[str], chosen: dict[str, Iterable[str]], missing: list[str]
) -> None:
    assert noxfile().uncovered(wanted, chosen) == missing


def run_noxfile_after(statement: str) -> subprocess.CompletedProcess[str]:
    """Run the noxfile in a Python where a statement has been executed first."""
    script = (
        f"import runpy, sys; {statement}; runpy.run_path({str(ROOT / 'noxfile.py')!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_older_python_can_read_the_noxfile() -> None:
    ast.parse((ROOT / "noxfile.py").read_text("utf-8"), feature_version=(3, 7))


@pytest.mark.parametrize(
    ("statement", "problem", "remedy"),
    [
        ("sys.version_info = (3, 10, 13)", "Python 3.11 or newer is needed", "python3.11 noxfile.py"),
        ("sys.modules['ensurepip'] = None", "cannot make virtual environments", "apt install python3-venv"),
        ("sys.modules['venv'] = None", "cannot make virtual environments", "apt install python3-venv"),
    ],
)
def test_an_unfit_python_ends_with_the_remedy_in_one_sentence(
    statement: str, problem: str, remedy: str
) -> None:
    ended = run_noxfile_after(statement)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert problem in ended.stderr
    assert remedy in ended.stderr


class FakeSession:
    """What `prepare` uses of a session, over a folder that looks like an environment."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        self.virtualenv = self
        self.bin = str(folder / "bin")
        self.created = 0
        self.warned: list[str] = []
        self.installed: list[tuple[str, ...]] = []
        self.create()

    def create(self) -> None:
        self.created += 1
        python = Path(self.bin) / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text("#!/bin/sh\n", "utf-8")
        python.chmod(0o755)

    def warn(self, message: str) -> None:
        self.warned.append(message)

    def install(self, *requirements: str, env: dict[str, str]) -> None:
        assert env["PIP_CONSTRAINT"].endswith("/constraints.txt")
        self.installed.append(requirements)


def test_a_session_installs_once_and_again_only_for_something_new(tmp_path: Path) -> None:
    session = FakeSession(tmp_path / "env")
    for groups in (["lint"], ["lint"], ["types"]):
        noxfile().prepare(session, extras=["embedded", "load"], groups=groups)
    assert [requirements[-2:] for requirements in session.installed] == [("-e", ".[embedded,load]")] * 2
    assert session.created == 1


class Interrupted(BaseException):
    """Stands in for Ctrl-C."""


def test_an_environment_whose_install_was_interrupted_is_made_again(tmp_path: Path) -> None:
    class InterruptedSession(FakeSession):
        def install(self, *requirements: str, env: dict[str, str]) -> None:
            raise Interrupted

    with pytest.raises(Interrupted):
        noxfile().prepare(InterruptedSession(tmp_path / "env"), groups=["lint"])
    session = FakeSession(tmp_path / "env")
    noxfile().prepare(session, groups=["lint"])
    assert session.created == 2
    assert len(session.installed) == len(session.warned) == 1


def test_an_environment_without_pip_is_made_anew(tmp_path: Path) -> None:
    session = FakeSession(tmp_path / "env")
    (tmp_path / "env" / "bin" / "python").unlink()
    noxfile().prepare(session, groups=["lint"])
    assert session.created == 2
