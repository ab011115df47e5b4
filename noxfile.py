#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5.1"]
# ///
"""Sessions of the project: `python3 noxfile.py -s NAME`, `nox -s NAME` or `uv run noxfile.py -s NAME`.

The only requirement is Python 3.11 or newer with `venv`. If nox is not installed, this file creates a virtual
environment under `.nox/`, installs the nox version that constraints.txt pins, and runs itself there. A session reuses
its environment and installs again only after pyproject.toml or constraints.txt changed. Without `-s` this file runs
the sessions that a pull request must pass.
"""

# All of this file must parse on Python 3.7, and the code up to the call of check_python must run there.

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn


def refuse(message: str) -> NoReturn:
    """Print the message on stderr and exit with code 2, the harness's exit code for "no verdict"."""
    sys.stderr.write(f"noxfile.py: {message}\n")
    raise SystemExit(2)


def check_python() -> None:
    """Exit unless this Python is new enough and can create virtual environments."""
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - this line also runs on older versions
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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, after waiting for any other holder; the kernel releases it when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("noxfile.py: waiting for another run that installs packages\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def bootstrap() -> NoReturn:
    """Run this file again in a private environment with the pinned nox; creates that environment first if needed."""
    pinned = re.search(r"^nox==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
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
            # Last: without this file the next run creates the environment again.
            complete.touch()
    note_call()
    os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def note_call() -> None:
    """Keep the words by which this file was called, for the commands that sessions print."""
    runner = ["uv", "run"] if os.environ.get("UV_RUN_RECURSION_DEPTH") else [sys.orig_argv[0]]
    os.environ["NOXFILE_CALL"] = shlex.join([*runner, sys.argv[0]])


def make_bootstrap(folder: Path, python: Path, nox_version: str) -> None:
    """Create the environment with the pinned nox; deletes what an interrupted run left of it."""
    shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.write(f"noxfile.py: installing nox {nox_version} into {folder.relative_to(ROOT)}, once\n")
    options = ("--quiet", "--disable-pip-version-check")
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, stdout=sys.stderr)
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
            # This Python has no pip, or one before 22.3. An own one takes longer than all the rest.
            pip = [str(python), "-m", "pip"]
            subprocess.run([str(python), "-m", "ensurepip"], check=True, stdout=sys.stderr)
        pinned = ("-c", CONSTRAINTS, f"nox=={nox_version}")
        subprocess.run([*pip, "install", *options, *pinned], check=True, stdout=sys.stderr)
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
        refuse("interrupted; run it again.")

import nox.project  # noqa: E402 - bootstrap() runs first if nox is not installed

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.envdir = f".nox/python{platform.python_version()}"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "chaos"]

PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
# Most tests wait for processes and servers, so there is one process more than processors. They wait at very different
# lengths: a process without work takes some from another.
IN_PARALLEL = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]
# One with kills, and those whose faults strike the servers.
IN_CONTAINERS = (
    "kill-worker-mid-task",
    "flush-redis",
    "stall-redis",
    "stall-postgres",
    "restart-redis",
    "restart-postgres",
    "terminate-backends",
    "lose-redis-tail",
    "lose-postgres-tail",
    "fill-disk",
)
SITE = "sphinx-build -c docs/site --fail-on-warning --keep-going --quiet . reports/site"
QUICK_PEERS = "python -m loadtests.peers --peers agentexec pgqueuer-asyncpg --quick --rounds 1"
EXTRAS = tuple(PYPROJECT["project"]["optional-dependencies"])
GROUPS = tuple(PYPROJECT["dependency-groups"])
EMBEDDED = ("embedded", "reference")
LOAD = ("embedded", "load")
# Sessions of one command, to which `-- ARGS` are added: the extras that it needs, the command, and what it is.
COMMANDS = {
    "types": (EXTRAS, "mypy", "Strict mypy over all packages, tests and the noxfile."),
    "docs": (EXTRAS, SITE, "All pages and the API, into reports/site; a warning or a dead link fails."),
    "queues": (
        EMBEDDED,
        "harness queues --document docs/queues.md",
        "Every target under every loss, as a page.",
    ),
    "load": (LOAD, "python -m loadtests.run", "A short headless load test against its service levels."),
    "bench": (LOAD, "python -m loadtests.bench", "Benchmarks and their floors; `-- NAME`, --repeats N ..."),
    "peers_quick": (EMBEDDED, QUICK_PEERS, "Two peers with a tenth of the tasks: `peers` works."),
    "planted": (EXTRAS, "python -m tests.planted", "Every method against every planted defect, as a page."),
    "doctor": (
        EXTRAS,
        "python -m tests.mistakes",
        "Mistakes in a set-up: found, and what each costs; `-- ID`.",
    ),
    "newcomer": (
        EXTRAS,
        "python -m tests.newcomer",
        "Takes docs/production in a container with only Debian's Python; `-- --network NAME`.",
    ),
    "promises": (EXTRAS, "python -m tests.promises", "Breaks each promise; its tests must fail; `-- NAME`."),
    "alerts": (EXTRAS, "python -m tests.alerts", "Proves each alert with a real Prometheus, as a page."),
}


def prepare(
    session: nox.Session, *, extras: Iterable[str] = (), groups: Iterable[str] = (), package: bool = True
) -> None:
    """Install the requirements of a session at the versions in constraints.txt, unless they are installed already.

    The state file contains `installing` while pip runs. An environment that an interrupted run left in this state is
    created again.
    """
    # Some machines set it. Each process that the session starts would then compile the project again.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    requirements = list(nox.project.dependency_groups(PYPROJECT, *groups))
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
            session.warn(
                "an earlier run was interrupted while it created this environment; creating it again"
            )
            shutil.rmtree(folder)
            session.virtualenv.create()
        state.write_text("installing", "utf-8")
        # A URI, because pip splits the values of these variables at spaces.
        pin = CONSTRAINTS.as_uri()
        session.install(*requirements, env={"PIP_CONSTRAINT": pin, "PIP_BUILD_CONSTRAINT": pin})
        name_checkout_in_ascii(folder)
        state.write_text(wanted, "utf-8")


def prepare_for_tests(session: nox.Session) -> None:
    """Use one environment, that of `tests`, for all sessions that need every extra: it takes a minute to install."""
    environment = session.virtualenv
    if Path(environment.location).name != "tests":
        environment.location = str(Path(environment.location).with_name("tests"))
        session.env["VIRTUAL_ENV"] = environment.location
        with locked(Path(environment.location).with_suffix(".lock")):
            environment.create()
    prepare(session, extras=EXTRAS, groups=["test", "types", "docs"])


def name_checkout_in_ascii(environment: Path) -> None:
    """Make the path of this checkout relative where the environment names it.

    Python reads .pth files in the encoding of the locale. In the C locale it does not start in an environment with a
    path that is not ASCII.
    """
    for file in environment.resolve().glob("lib/python*/site-packages/*.pth"):
        relative = os.path.relpath(ROOT, file.parent)
        lines = file.read_text("utf-8").splitlines()
        file.write_text("".join(f"{relative if line == str(ROOT) else line}\n" for line in lines), "utf-8")


def has_pip(python: Path) -> bool:
    """Whether pip runs in the environment of this interpreter."""
    try:
        answer = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    except OSError:
        return False
    return answer.returncode == 0


@nox.session
def lint(session: nox.Session) -> None:
    """Rules, formatting, spelling and vocabulary; `-- PATHS` replace `.`."""
    prepare(session, groups=["lint"], package=False)
    paths = session.posargs or ["."]
    session.run("ruff", "check", *paths)
    session.run("ruff", "format", "--check", *paths)
    session.run("codespell", *paths)
    session.run("codespell", "--config", ".codespell-vocabulary.cfg", *paths)


@nox.session
def format(session: nox.Session) -> None:
    """Apply the formatting and the automatic repairs of ruff; `-- PATHS` replace `.`."""
    prepare(session, groups=["lint"], package=False)
    paths = session.posargs or ["."]
    session.run("ruff", "check", "--fix", *paths)
    session.run("ruff", "format", *paths)


@nox.session
def hooks(session: nox.Session) -> None:
    """Install the git hook that runs `format` and `lint` before each commit (.pre-commit-config.yaml)."""
    prepare(session, groups=["lint"], package=False)
    session.run("pre-commit", "install", *session.posargs)


def add_session(name: str, extras: tuple[str, ...], command: str, summary: str) -> None:
    """Register a session of one command; those that need every extra share the environment of `tests`."""

    def run(session: nox.Session) -> None:
        if extras == EXTRAS:
            prepare_for_tests(session)
        else:
            prepare(session, extras=extras)
        session.run(*command.split(), *session.posargs)

    run.__doc__ = summary
    nox.session(name=name)(run)


for _name, _row in COMMANDS.items():
    add_session(_name, *_row)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, integration and acceptance tests; `-- ARGS` go to pytest."""
    prepare_for_tests(session)
    session.run(*pytest_command("tests", "not containers"), *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """The short scenarios on embedded servers; `-- ARGS` replace `--tag smoke` (--tag release, names, --seed N)."""
    prepare(session, extras=["embedded", "migrations"])
    session.run(
        *chaos_command("embedded"), *(session.posargs or ["--tag", "smoke"]), env=repeated_by("chaos")
    )


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulations in virtual time on new seeds; `-- ARGS` replace `--seeds 500` (--seed N, --replay FILE ...)."""
    prepare(session, extras=["simulation"])
    session.run("harness", "simulate", *(session.posargs or ["--seeds", "500"]), env=repeated_by("simulate"))


@nox.session
def peers(session: nox.Session) -> None:
    """Speed beside other queues, into docs/reference/performance.md; `-- ARGS` (no page): --peers, --quick ..."""
    prepare(session, extras=["embedded", "reference"])
    # Only a run of all peers is written into the page.
    page = [] if session.posargs else ["--document", "docs/reference/performance.md"]
    session.run("python", "-m", "loadtests.peers", *page, *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """The site, 100,000 simulated runs, all pairs of faults of six lives, then property tests; `-- ARGS` to pytest."""
    prepare_for_tests(session)
    session.run(*SITE.split())
    command = ["python", "-m", "pytest", *IN_PARALLEL, "-m", "not containers", "--timeout=7200"]
    where = ["tests/properties", "tests/unit"]
    report = "--junitxml=reports/nightly.xml"
    session.run("harness", "simulate", "--seeds", "100000", env=repeated_by("simulate"))
    session.run("harness", "simulate", "--bounded", env=repeated_by("simulate"))
    session.run(*command, report, *where, *session.posargs, env={"HYPOTHESIS_PROFILE": "nightly"})


@nox.session
def mutation(session: nox.Session) -> None:
    """The mutants of the protocol by means, then those of the checkers; `-- protocol ARGS` or `-- checkers ARGS`."""
    prepare(session, extras=["embedded", "load"], groups=["test", "mutation"])
    modules = {"protocol": "tests.mutants", "checkers": "tests.mutation"}
    part, *arguments = session.posargs or [""]
    for name in [part] if part in modules else modules:
        session.run("python", "-m", modules[name], *(arguments if part in modules else session.posargs))


@nox.session
def containers(session: nox.Session) -> None:
    """Tests and scenarios on a Docker engine; `-- ARGS` replace the scenarios. Builds images by mmdebstrap."""
    prepare_for_tests(session)
    if shutil.which("mmdebstrap"):
        session.run("harness", "images", "build")
    else:
        session.log("mmdebstrap is not installed: the engine must have the server images or pull them")
    session.run(*pytest_command("containers", "containers"))
    # Half of the tasks: what differs from embedded servers is how a server is struck.
    scenarios = session.posargs or [*IN_CONTAINERS, "--tasks", "120"]
    session.run(*chaos_command("containers"), *scenarios, env=repeated_by("containers"))


@nox.session
def lock(session: nox.Session) -> None:
    """Resolve all extras and groups into constraints.txt, keeping its pins; `-- --upgrade` renews them."""
    prepare(session, groups=["lock"], package=False)
    oldest_python = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    command = ["uv", "pip", "compile", "--universal", "--python-version", oldest_python, "--all-extras"]
    command += [f"--group={group}" for group in GROUPS]
    # One version of each package for all supported Pythons, where the requirements allow that.
    command += ["--fork-strategy", "fewest"]
    command += ["--no-annotate", "--custom-compile-command", "python3 noxfile.py -s lock"]
    command += ["--quiet", "--output-file", CONSTRAINTS.name, "pyproject.toml"]
    session.run(*command, *session.posargs, env=uv_settings(Path(session.bin) / "python"))


def pytest_command(report: str, marks: str) -> list[str]:
    """The pytest command for one mark expression, in parallel, with a JUnit report in reports/."""
    return ["python", "-m", "pytest", *IN_PARALLEL, "-m", marks, f"--junitxml=reports/{report}.xml"]


def chaos_command(backend: str) -> list[str]:
    """The command that runs scenarios on one backend; it prints the folder of its report."""
    return ["harness", "chaos", "run", "--backend", backend]


def repeated_by(session: str) -> dict[str, str]:
    """The variable that makes the harness print this session, as it was called, in the commands that repeat a run."""
    call = os.environ.get("NOXFILE_CALL")
    if call is None:
        # nox runs in the folder of this file. PWD is the one of the shell.
        here = os.environ.get("PWD", str(ROOT)) == str(ROOT)
        call = "nox" if here else shlex.join(["nox", "-f", str(ROOT / "noxfile.py")])
    return {"HARNESS_REPEAT": f"{call} -s {session} --"}


def uv_settings(python: Path) -> dict[str, str]:
    """Environment variables that make uv use the package index and the certificates that pip uses.

    uv does not read pip's configuration. The index is passed in the environment, so that its address, which may contain
    a password, is neither printed nor written to a file.
    """
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8", check=False
    )
    configured = dict(re.findall(r"^(\S+)\.index-url='(.+)'$", listing.stdout, re.MULTILINE))
    index = configured.get(":env:") or configured.get("install") or configured.get("global")
    settings = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return settings | ({"UV_DEFAULT_INDEX": index} if index else {})


if __name__ == "__main__":
    if not Path(sys.prefix).name.startswith("bootstrap-"):
        note_call()
    os.chdir(ROOT)
    nox.main()
