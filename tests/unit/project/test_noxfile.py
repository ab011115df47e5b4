"""Sessions of the noxfile, the sessions that CI calls, the pins, and the messages for an unsuitable Python."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import nox.project
import nox.registry
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chaos
from harness.faults.backup import BackUp, RestoreBackup
from harness.faults.chores import CleanUp, MigrateSchema
from harness.faults.held_state import HoldState
from harness.scenario import RELEASE, SMOKE, SOAK

ROOT = Path(__file__).resolve().parents[3]
IN_CI = {"lint", "types", "tests", "chaos", "load", "containers", "simulate", "peers_quick"}
# CI runs none of these: they change files, take hours or need a machine without other load.
BY_HAND = {
    "format",
    "hooks",
    "lock",
    "bench",
    "docs",
    "planted",
    "promises",
    "doctor",
    "newcomer",
    "alerts",
    "nightly",
    "mutation",
    "queues",
    "peers",
}

BY_CONNECTION = (HoldState, CleanUp, MigrateSchema, BackUp, RestoreBackup)


@cache
def noxfile() -> ModuleType:
    """The noxfile as a module, its sessions registered with nox."""
    spec = importlib.util.spec_from_file_location("noxfile_under_test", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sessions() -> dict[str, Callable[..., None]]:
    """Every session of the noxfile by name."""
    noxfile()
    return dict(nox.registry.get())


def pins() -> dict[str, Requirement]:
    """Name to pin for constraints.txt, in which every line is a comment or a pin."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {pin.name: pin for pin in map(Requirement, (line for line in lines if not line.startswith("#")))}


def requirements() -> list[Requirement]:
    """Every requirement that pyproject.toml and the noxfile name, to run, test or build the project."""
    pyproject = nox.project.load_toml(ROOT / "pyproject.toml")
    project = pyproject["project"]
    texts = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
        *nox.project.dependency_groups(pyproject, *pyproject["dependency-groups"]),
        *pyproject["build-system"]["requires"],
        *nox.project.load_toml(ROOT / "noxfile.py")["dependencies"],
    ]
    return [Requirement(text) for text in texts]


def test_the_noxfile_has_the_sessions_of_ci_and_those_run_by_hand() -> None:
    assert set(sessions()) == IN_CI | BY_HAND


def test_every_scenario_that_strikes_a_server_itself_also_runs_in_containers() -> None:
    """What works through a connection is the same on every backend."""
    striking = {
        name
        for name, one in chaos.SCENARIOS.items()
        if one.own_servers
        and not one.proxied
        and one.topology is None
        and not any(isinstance(fault, BY_CONNECTION) for fault in one.faults)
    }
    chosen = set(noxfile().IN_CONTAINERS)
    assert striking < chosen < set(chaos.SCENARIOS)


def test_the_session_chaos_runs_the_short_scenarios() -> None:
    smoke = [one for one in chaos.SCENARIOS.values() if SMOKE in one.tags]
    assert 5 <= len(smoke) <= 8, "all of them together take at most two minutes"
    assert all(RELEASE in one.tags for one in chaos.SCENARIOS.values() if SOAK not in one.tags)


def test_plain_nox_runs_what_a_pull_request_must_pass() -> None:
    assert list(noxfile().nox.options.sessions) == ["lint", "types", "tests", "chaos"]


def test_ci_calls_every_session_and_nothing_that_is_not_one() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    loop = re.search(r"^for session in (.+); do$", script, re.MULTILINE)
    assert loop is not None
    assert set(loop.group(1).split()) == IN_CI
    assert 'python3 noxfile.py -s "$session"' in script


def test_the_hosted_workflow_runs_the_same_sessions() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert re.findall(r"run: (.+)", workflow) == ["python3 noxfile.py -s ${{ matrix.session }}"]
    (names,) = re.findall(r"session: \[(.+)\]", workflow)
    assert set(names.split(", ")) == IN_CI


def test_the_git_hooks_only_call_sessions() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    entries = re.findall(r"entry: (.+)", hooks)
    assert entries == [f"python3 noxfile.py -s {name}" for name in ("format", "lint")]


def test_the_pins_name_no_place_to_fetch_from() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert re.search(r"://|--|@", text) is None


def test_every_pin_is_one_exact_version() -> None:
    specifiers = [specifier for pin in pins().values() for specifier in pin.specifier]
    assert {specifier.operator for specifier in specifiers} == {"=="}
    assert len(specifiers) == len(pins())


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    pinned = {name: next(iter(pin.specifier)).version for name, pin in pins().items()}
    unmet = [
        r for r in requirements() if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))
    ]
    assert unmet == []


def test_the_lock_session_resolves_every_extra_and_group_for_all_platforms(tmp_path: Path) -> None:
    session = FakeSession(tmp_path / "env")
    noxfile().lock(session)
    (command,) = session.commands
    groups = {word.removeprefix("--group=") for word in command if word.startswith("--group=")}
    assert groups == set(nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"])
    assert {"--universal", "--all-extras"} < set(command)
    assert command[command.index("--python-version") + 1] == "3.11"


def test_uv_gets_the_index_of_pip_from_the_variable_or_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example/simple\n", "utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    from_variable = noxfile().uv_settings(Path(sys.executable))
    monkeypatch.delenv("PIP_INDEX_URL")
    from_file = noxfile().uv_settings(Path(sys.executable))
    assert from_variable["UV_DEFAULT_INDEX"] == "https://variable.example/simple"
    assert from_file["UV_DEFAULT_INDEX"] == "https://file.example/simple"


def run_noxfile_after(statement: str) -> subprocess.CompletedProcess[str]:
    """Run the noxfile in a new Python process that executes a statement first."""
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
def test_an_unsuitable_python_gets_one_line_with_the_remedy(
    statement: str, problem: str, remedy: str
) -> None:
    ended = run_noxfile_after(statement)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert problem in ended.stderr
    assert remedy in ended.stderr


class FakeSession:
    """The part of a session that the tests need, over a folder that looks like an environment."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        self.virtualenv = self
        self.env: dict[str, str | None] = {}
        self.created = 0
        self.warned: list[str] = []
        self.installed: list[tuple[str, ...]] = []
        self.posargs: list[str] = []
        self.commands: list[tuple[str, ...]] = []
        self.create()

    @property
    def bin(self) -> str:
        return str(Path(self.location) / "bin")

    def create(self) -> None:
        self.created += 1
        python = Path(self.bin) / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text("#!/bin/sh\n", "utf-8")
        python.chmod(0o755)

    def warn(self, message: str) -> None:
        self.warned.append(message)

    def log(self, message: str) -> None:
        pass

    def run(self, *command: str, env: dict[str, str] | None = None) -> None:
        self.commands.append(command)

    def install(self, *requirements: str, env: dict[str, str]) -> None:
        assert env["PIP_CONSTRAINT"].endswith("/constraints.txt")
        self.installed.append(requirements)


def test_a_session_installs_once_and_again_only_for_something_new(tmp_path: Path) -> None:
    session = FakeSession(tmp_path / "env")
    for groups in (["lint"], ["lint"], ["types"]):
        noxfile().prepare(session, extras=["embedded", "load"], groups=groups)
    assert [requirements[-2:] for requirements in session.installed] == [("-e", ".[embedded,load]")] * 2
    assert session.created == 1


def test_the_sessions_that_need_every_extra_install_it_once(tmp_path: Path) -> None:
    started = [FakeSession(tmp_path / name) for name in ("types", "tests", "containers", "promises")]
    for session in started:
        sessions()[Path(session.location).name](session)
    assert {session.location for session in started} == {str(tmp_path / "tests")}
    assert [len(session.installed) for session in started] == [1, 0, 0, 0]
    assert all(session.commands for session in started)


def test_the_processes_of_a_session_compile_the_project_once(tmp_path: Path) -> None:
    """For nox, None removes a variable."""
    session = FakeSession(tmp_path / "env")
    noxfile().prepare(session, groups=["lint"])
    assert session.env == {"PYTHONDONTWRITEBYTECODE": None}


def test_the_session_of_the_benchmarks_has_what_they_import_and_run(tmp_path: Path) -> None:
    """Without the extra `load`, `loadtests.bench` could not be imported, and two benchmarks had no Locust."""
    session = FakeSession(tmp_path / "env")
    sessions()["bench"](session)
    [[*_, package]] = session.installed
    extras = nox.project.load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
    names = {
        Requirement(text).name for extra in Requirement(f"x{package[1:]}").extras for text in extras[extra]
    }
    assert {"hdrhistogram", "locust"} <= names


def test_an_environment_names_the_checkout_in_ascii_so_that_python_starts_in_every_locale(
    tmp_path: Path,
) -> None:
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)

    class EditableSession(FakeSession):
        def install(self, *requirements: str, env: dict[str, str]) -> None:
            (packages / "_editable.pth").write_text(f"{ROOT}\n{ROOT}", "utf-8")
            (packages / "other.pth").write_text("import other\n", "utf-8")

    noxfile().prepare(EditableSession(tmp_path / "env"))
    lines = (packages / "_editable.pth").read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert {(packages / line).resolve() for line in lines} == {ROOT}
    assert not any(Path(line).is_absolute() for line in lines)
    assert (packages / "other.pth").read_text("utf-8") == "import other\n"


class Interrupted(BaseException):
    """Raised in place of KeyboardInterrupt."""


def test_an_environment_whose_install_was_interrupted_is_created_again(tmp_path: Path) -> None:
    class InterruptedSession(FakeSession):
        def install(self, *requirements: str, env: dict[str, str]) -> None:
            raise Interrupted

    with pytest.raises(Interrupted):
        noxfile().prepare(InterruptedSession(tmp_path / "env"), groups=["lint"])
    session = FakeSession(tmp_path / "env")
    noxfile().prepare(session, groups=["lint"])
    assert session.created == 2
    assert len(session.installed) == len(session.warned) == 1


def test_an_environment_without_pip_is_created_again(tmp_path: Path) -> None:
    session = FakeSession(tmp_path / "env")
    (tmp_path / "env" / "bin" / "python").unlink()
    noxfile().prepare(session, groups=["lint"])
    assert session.created == 2


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NOXFILE_CALL": "python3.12 ../noxfile.py"}, "python3.12 ../noxfile.py -s chaos --"),
        ({"PWD": str(ROOT)}, "nox -s chaos --"),
        ({"PWD": "/elsewhere"}, f"nox -f {ROOT}/noxfile.py -s chaos --"),
    ],
)
def test_a_session_is_repeated_as_the_noxfile_was_called(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOXFILE_CALL", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert noxfile().repeated_by("chaos") == {"HARNESS_REPEAT": expected}
