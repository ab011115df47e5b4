#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5.1"]
# ///
"""Every way to run the project: `python3 noxfile.py -s NAME`, `nox -s NAME` or `uv run noxfile.py -s NAME`.

Only Python 3.11+ with `venv` is needed. Where nox is missing, this file makes a virtual environment under `.nox/`,
installs the nox that constraints.txt pins, and runs itself again there. Sessions reuse their environments and install
again only when pyproject.toml or constraints.txt changed. Without `-s` the sessions run that a pull request must pass.
"""

# Down to the call of check_python, this file has to run on much older Pythons, and all of it has to parse there.

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NoReturn


def refuse(sentence: str) -> NoReturn:
    """End with one sentence on stderr and exit code 2, as the harness does where no verdict can be reached."""
    sys.stderr.write(f"noxfile.py: {sentence}\n")
    raise SystemExit(2)


def check_python() -> None:
    """Refuse a Python that cannot make the environments everything else runs in."""
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python does get here, to be told so
        refuse(
            f"Python 3.11 or newer is needed and this is {version}; run it again as `python3.11 noxfile.py`."
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        refuse(
            f"this Python {version} cannot make virtual environments; install the missing part "
            "(on Debian and Ubuntu: `apt install python3-venv`) or use another Python, and run it again."
        )


check_python()

ROOT = Path(__file__).resolve().parent
NOX_FOLDER = ROOT / ".nox"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = ("embedded", "containers", "simulation", "load", "migrations", "metrics", "api")
GROUPS = ("test", "lint", "types", "mutation")
SUPPORTED = ("3.11", "3.12", "3.13")
# What environment markers can ask, for every supported Python (first and last patch release) and platform.
MACHINES = tuple(
    {"implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix"}
    | {"python_version": version, "python_full_version": f"{version}.{patch}"}
    | {"platform_system": system, "sys_platform": system.lower(), "platform_machine": machine}
    for version in SUPPORTED
    for patch in (0, 99)
    for system, machine in product(("Linux", "Darwin"), ("x86_64", "aarch64", "arm64"))
)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel lets go when this process dies, however it dies; waits for another holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("noxfile.py: waiting for another run that is installing\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def bootstrap() -> NoReturn:
    """Run this file again inside a private environment that has the pinned nox, making it first if need be."""
    pinned = re.search(r"^nox==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None:
        refuse("constraints.txt pins no nox; restore that file from version control and run it again.")
    nox_version = pinned.group(1)
    folder = NOX_FOLDER / f"bootstrap-nox{nox_version}-python{platform.python_version()}"
    if Path(sys.prefix).resolve() == folder.resolve():
        refuse(f"the environment {folder} is damaged; delete that folder and run it again.")
    python = folder / "bin" / "python"
    complete = folder / "complete"
    with locked(NOX_FOLDER / "bootstrap.lock"):
        if not (complete.exists() and python.exists()):
            make_bootstrap(folder, python, nox_version)
            complete.touch()  # only ever after everything else: without it the next run starts over
    os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def make_bootstrap(folder: Path, python: Path, nox_version: str) -> None:
    """Make the environment from nothing; what an interrupted run left of it is thrown away."""
    shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.write(f"noxfile.py: installing nox {nox_version} into {folder.relative_to(ROOT)}, once\n")
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([*pip, "-c", CONSTRAINTS, f"nox=={nox_version}"], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        refuse(f"nox {nox_version} could not be installed, see above; check the network and run it again.")


try:
    import nox
except ModuleNotFoundError:
    if __name__ != "__main__":
        raise
    try:
        bootstrap()
    except KeyboardInterrupt:
        refuse("interrupted; run it again and it starts over where it must.")

import nox.project  # noqa: E402 - nox may be there only from here on
from packaging.requirements import Requirement  # noqa: E402 - comes with nox
from packaging.utils import canonicalize_name  # noqa: E402 - comes with nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.envdir = f".nox/python{platform.python_version()}"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "chaos"]


def prepare(
    session: nox.Session, *, extras: Iterable[str] = (), groups: Iterable[str] = (), package: bool = True
) -> None:
    """Install what a session needs, pinned by constraints.txt; does nothing where that has not changed.

    The state file says `installing` while pip runs, so an environment that an interrupted run left half made is known
    and made anew.
    """
    pyproject = nox.project.load_toml(ROOT / "pyproject.toml")
    requirements = list(nox.project.dependency_groups(pyproject, *groups))
    if package:
        chosen = ",".join(extras)
        requirements += ["-e", f".[{chosen}]" if chosen else "."]
    files = (ROOT / "pyproject.toml", CONSTRAINTS)
    inputs = [str(ROOT), *requirements, *(file.read_text("utf-8") for file in files)]
    wanted = hashlib.sha256("\0".join(inputs).encode()).hexdigest()
    folder = Path(session.virtualenv.location)
    state = folder / "state"
    with locked(folder.with_suffix(".lock")):
        found = state.read_text("utf-8") if state.exists() else ""
        if found == wanted:
            return
        if found == "installing" or not has_pip(Path(session.bin) / "python"):
            session.warn("an earlier run was interrupted while it made this environment; making it anew")
            shutil.rmtree(folder)
            session.virtualenv.create()
        state.write_text("installing", "utf-8")
        pin = CONSTRAINTS.as_uri()  # a URI, because pip splits the variables' values at spaces
        session.install(*requirements, env={"PIP_CONSTRAINT": pin, "PIP_BUILD_CONSTRAINT": pin})
        state.write_text(wanted, "utf-8")


def has_pip(python: Path) -> bool:
    """Whether an environment is whole enough to install into."""
    try:
        answer = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    except OSError:
        return False
    return answer.returncode == 0


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and formatting."""
    prepare(session, groups=["lint"], package=False)
    session.run("ruff", "check", *(session.posargs or ["."]))
    session.run("ruff", "format", "--check", *(session.posargs or ["."]))


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over all rooms."""
    prepare(session, extras=EXTRAS, groups=["test", "types"])
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, integration and acceptance tests; `-- ARGS` go to pytest."""
    prepare(session, extras=EXTRAS, groups=["test"])
    session.run(*pytest_command("tests", "not containers"), *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """All scenarios on embedded servers; `-- ARGS` replace `--all` (names, --seed N, --tasks N ...)."""
    prepare(session, extras=["embedded"])
    session.run(*chaos_command("embedded"), *(session.posargs or ["--all"]))


@nox.session
def simulate(session: nox.Session) -> None:
    """Whole systems in virtual time, on new seeds; `-- ARGS` replace `--seeds 500` (--seed N, --replay FILE ...)."""
    prepare(session, extras=["simulation"])
    session.run("harness", "simulate", *(session.posargs or ["--seeds", "500"]))


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks beside their floors, figures in reports/bench/bench.json; `-- ARGS` go to it (names, --repeats N)."""
    prepare(session, extras=["embedded"])
    session.run("python", "-m", "loadtests.bench", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """100,000 simulated runs, then the property tests with the profile that looks longer; `-- ARGS` go to pytest."""
    prepare(session, extras=EXTRAS, groups=["test"])
    command = ["python", "-m", "pytest", "-n", "auto", "-m", "not containers", "--timeout=7200"]
    where = ["tests/properties", "tests/unit"]
    report = "--junitxml=reports/nightly.xml"
    session.run("harness", "simulate", "--seeds", "100000")
    session.run(*command, report, *where, *session.posargs, env={"HYPOTHESIS_PROFILE": "nightly"})


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutants of the queue and the checkers against their fast tests; `-- ARGS` go to it (patterns, --minutes N)."""
    prepare(session, extras=["embedded"], groups=["test", "mutation"])
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """A short headless load test against its declared service levels; `-- ARGS` go to it."""
    prepare(session, extras=["embedded", "load"])
    session.run("python", "-m", "loadtests.run", *session.posargs)


@nox.session
def containers(session: nox.Session) -> None:
    """The tests and scenarios that need a Docker engine; makes the server images where mmdebstrap can and none are."""
    prepare(session, extras=EXTRAS, groups=["test"])
    if shutil.which("mmdebstrap"):
        session.run("harness", "images", "build")
    else:
        session.log("mmdebstrap is not installed, so the engine has to have the images or pull them")
    session.run(*pytest_command("containers", "containers"))
    session.run(*chaos_command("containers"), *(session.posargs or ["--all"]))


@nox.session
def planted(session: nox.Session) -> None:
    """Every planted defect under every means that can find it, into docs/design/planted.md; `-- NAME` looks for one."""
    prepare(session, extras=EXTRAS, groups=["test"])
    session.run("python", "-m", "tests.planted", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve every extra and group anew into constraints.txt; `-- -c constraints.txt` keeps the pins there are."""
    if ".".join(map(str, sys.version_info[:2])) != SUPPORTED[0]:
        session.error(
            f"lock with Python {SUPPORTED[0]}, the oldest supported, so that every pin suits all of them"
        )
    wanted = everything()
    while True:
        chosen = resolve(session, wanted)
        missing = uncovered(wanted, {name: found["requires_dist"] for name, found in chosen.items()})
        if not missing:
            break
        wanted += missing
    pins = "".join(f"{name}=={found['version']}\n" for name, found in sorted(chosen.items()))
    head = (
        "# Everything that any session installs, pinned. Made by `python3 noxfile.py -s lock`; do not edit.\n"
    )
    CONSTRAINTS.write_text(head + pins, "utf-8")
    session.log(f"{len(chosen)} pins written to constraints.txt")


def pytest_command(report: str, marks: str) -> list[str]:
    """Pytest over two or more processes, with a JUnit report beside the others."""
    return ["python", "-m", "pytest", "-n", "auto", "-m", marks, f"--junitxml=reports/{report}.xml"]


def chaos_command(backend: str) -> list[str]:
    """The scenarios on one backend; the reports land in a folder of reports/ that the command names."""
    return ["harness", "chaos", "run", "--backend", backend]


def everything() -> list[str]:
    """Every requirement of the project: to run, to test, to build and to run this file."""
    pyproject = nox.project.load_toml(ROOT / "pyproject.toml")
    project = pyproject["project"]
    return [
        *project["dependencies"],
        *(wanted for extra in EXTRAS for wanted in project["optional-dependencies"][extra]),
        *nox.project.dependency_groups(pyproject, *GROUPS),
        *pyproject["build-system"]["requires"],
        "editables",  # hatchling asks for it when it builds an editable install
        *nox.project.load_toml(ROOT / "noxfile.py")["dependencies"],
    ]


def resolve(session: nox.Session, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What pip would install for the requirements: name to version and `requires_dist`."""
    report = Path(session.create_tmp()) / "report.json"
    pip = [
        "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        str(report),
    ]
    session.run(*pip, *session.posargs, *wanted, silent=True)
    found = (item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"])
    return {
        canonicalize_name(data["name"]): {
            "version": data["version"],
            "requires_dist": data.get("requires_dist", []),
        }
        for data in found
    }


def uncovered(wanted: Iterable[str], chosen: Mapping[str, Iterable[str]]) -> list[str]:
    """Requirements that some supported Python or platform adds and `chosen` (name to `requires_dist`) lacks.

    Pip resolves for the machine it runs on. This walks the same dependencies for all others and returns what is left
    out, without its marker, so that the next resolution includes it.
    """
    missing: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [Requirement(text) for text in wanted]
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name not in chosen:
            requirement.marker = None
            missing[name] = str(requirement)
        elif (name, extras) not in seen:
            seen.add((name, extras))
            found = (Requirement(text) for text in chosen[name])
            queue += [dependency for dependency in found if applies(dependency, extras)]
    return sorted(missing.values())


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether any supported Python and platform needs this, given the extras asked of the package that names it."""
    if requirement.marker is None:
        return True
    marker = requirement.marker
    return any(
        marker.evaluate({**machine, "extra": extra}) for machine in MACHINES for extra in ("", *extras)
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    nox.main()
