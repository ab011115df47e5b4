"""How a pool may be started, and how it ends if its workers cannot be."""

from __future__ import annotations

import signal
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Eventually
from tests.support.environment import ROOT
from tests.support.pool_process import App, PoolProcess

pytestmark = pytest.mark.integration

LATER = 40.0  # seconds
RUN = '\nif __name__ == "__main__":\n    pool.run()\n'
# As the command that pip installs: the working directory is not in the search path of modules.
CONSOLE = ("-P", "-c", "import sys; from agentexec.cli import main; sys.exit(main())", "worker")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def works(app: App, eventually: Eventually, *arguments: str, **options: Any) -> PoolProcess:
    """Start a pool that runs a task and drains."""
    pool = app.run(*arguments, **options)
    (task,) = app.enqueue(1)
    eventually(lambda: app.all_complete([task]) or pool.poll() is not None, deadline=LATER)
    assert app.all_complete([task]), pool.log
    pool.signal(signal.SIGTERM)
    assert pool.wait(LATER) == 0, pool.log
    assert pool.log.count("ended with code") == 0, pool.log
    return pool


def refused(app: App, *arguments: str, code: int | None = None, **options: Any) -> str:
    """Start a pool that has to end by itself; returns the last line that it writes."""
    pool = app.run(*arguments, **options)
    assert pool.wait(90) == (1 if code is None else code), pool.log
    assert "Connection refused" not in pool.log
    return pool.log.strip().splitlines()[-1]


@pytest.fixture
def shadowed(app: App) -> Path:
    """A working directory with files that have the names of packages and modules that agentexec imports."""
    folder = app.folder / "shadowed"
    for name in ("redis", "sqlalchemy", "pydantic", "psutil", "queue", "json", "logging", "select"):
        write(folder / f"{name}.py", "raise RuntimeError('the wrong module')\n")
    return folder


def test_files_in_the_working_directory_hide_no_package_of_a_script_elsewhere(
    app: App, eventually: Eventually, shadowed: Path
) -> None:
    script = write(
        app.folder / "bin" / "serve.py", "import sys\nsys.path.append('..')\nfrom app import pool\n" + RUN
    )
    works(app, eventually, str(script), cwd=shadowed)


def test_files_in_the_working_directory_hide_no_package_of_the_command(
    app: App, eventually: Eventually
) -> None:
    write(app.folder / "redis.py", "raise RuntimeError('the wrong module')\n")
    works(app, eventually, *CONSOLE, "app:pool")
    works(app, eventually, "-m", "agentexec", "worker", "app:pool")


@pytest.mark.parametrize("flags", [(), ("-P",), ("-I",), ("-E", "-s"), ("-O",), ("-W", "error::UserWarning")])
def test_the_options_of_the_interpreter(app: App, eventually: Eventually, flags: Sequence[str]) -> None:
    line = f"import sys; sys.path[:0] = [{str(app.folder)!r}, {str(ROOT)!r}]; "
    script = write(app.folder / "elsewhere" / "serve.py", line + "from app import pool\n" + RUN)
    works(app, eventually, *flags, str(script), cwd="/")


@pytest.mark.parametrize(
    "entries",
    [
        "'parts'",
        "'', 'parts'",
        "'./parts/'",
        "Path('parts').resolve(), 'parts'",  # the import system ignores what is not text
        "'parts', 'no-such-folder', 'parts'",
        "'parts.zip'",
    ],
)
def test_unusual_entries_of_the_search_path(app: App, eventually: Eventually, entries: str) -> None:
    part = write(app.folder / "work" / "parts" / "part.py", "from app import pool\n")
    with zipfile.ZipFile(app.folder / "work" / "parts.zip", "w") as archive:
        archive.write(part, "part.py")
    start = f"import sys\nfrom pathlib import Path\nsys.path += [{entries}]\n"
    write(app.folder / "work" / "serve.py", start + "from part import pool\n" + RUN)
    environment = app.environment() | {"PYTHONPATH": f":{ROOT}::{app.folder}:"}
    works(app, eventually, "serve.py", cwd=app.folder / "work", env=environment)


@pytest.mark.parametrize(
    "kind", ["module", "package", "folder", "zip", "no suffix", "pyc", "moves", "argument"]
)
def test_ways_to_name_the_program(app: App, eventually: Eventually, kind: str) -> None:
    source = write(app.folder / "deep" / "serve.py", "from app import pool\n" + RUN)
    arguments: Sequence[str] = [str(source)]
    if kind == "module":
        write(app.folder / "deep" / "__init__.py", "")
        arguments = ["-m", "deep.serve"]
    elif kind == "package":
        source.rename(source.with_name("__main__.py"))
        write(app.folder / "deep" / "__init__.py", "")
        arguments = ["-m", "deep"]
    elif kind == "folder":
        source.rename(source.with_name("__main__.py"))
        arguments = ["deep"]
    elif kind == "zip":
        with zipfile.ZipFile(app.folder / "serve.zip", "w") as archive:
            archive.write(source, "__main__.py")
        arguments = ["serve.zip"]
    elif kind == "no suffix":
        source.rename(source.with_suffix(""))
        arguments = ["deep/serve"]
    elif kind == "pyc":
        code = f"import py_compile; py_compile.compile({str(source)!r}, 'serve.pyc')"
        app.script(code)
        arguments = ["serve.pyc"]
    elif kind == "moves":
        write(
            source, "import os\nfrom app import pool\n" + RUN.replace("pool.run", "os.chdir('/'); pool.run")
        )
    elif kind == "argument":
        write(source, "import sys\nfrom app import pool\nassert sys.argv[1:] == ['blue']\n" + RUN)
        arguments = [str(source), "blue"]
    environment = app.environment() | {"PYTHONPATH": f"{ROOT}:{app.folder}"}
    works(app, eventually, *arguments, env=environment)


def test_a_pool_of_a_module_is_run_by_code_without_a_file(app: App, eventually: Eventually) -> None:
    works(app, eventually, "-c", "from app import pool; pool.run()")


def test_thousands_of_tasks(app: App, eventually: Eventually) -> None:
    write(
        app.folder / "many.py",
        """
        from uuid import UUID
        from app import Job, pool

        async def idle(agent_id: UUID, context: Job) -> None: ...

        for number in range(5_000):
            pool.add_task(f"{number:0100d}", idle)
        """,
    )
    pool = works(app, eventually, "-m", "agentexec", "worker", "many:pool")
    assert pool.log.count("tasks ") == 1
    assert len(max(pool.log.splitlines(), key=len)) < 2_000


def test_a_module_that_prints_and_reads_when_it_is_imported(app: App, eventually: Eventually) -> None:
    write(
        app.folder / "talks.py",
        """
        import os, sys
        print("ready", flush=True)
        os.write(1, b'leaving\\n[["tasks_queued", "x", 1]]\\n')
        sys.stdin.read()
        from app import pool
        """,
    )
    works(app, eventually, "-m", "agentexec", "worker", "talks:pool", stdin=-3)


MISTAKES = {
    "no guard": ("from app import pool\npool.run()\n", "while its module is imported"),
    "no guard, and an exit": (
        "import sys\nfrom app import pool\nsys.exit(pool.run())\n",
        "while its module is imported",
    ),
    "no guard, asyncio": (
        "import asyncio\nfrom app import pool\nasyncio.run(pool.start())\n",
        "while its module is imported",
    ),
    "pool under the guard": (
        "import app\nif __name__ == '__main__':\n    pool = app.pool\n    del app.pool\n    pool.run()\n",
        "is not an agentexec Pool",
    ),
    "tasks under the guard": (
        "from app import pool, work\nif __name__ == '__main__':\n    pool.add_task('late', work)\n    pool.run()\n",
        "does not know the task(s) late",
    ),
    "pool in a function": (
        "import app\ndef main():\n    pool = app.pool\n    del app.pool\n    pool.run()\nmain()\n",
        "must be a module-level variable",
    ),
    "raises": (
        "from app import pool\nif __name__ == '__main__':\n    pool.run()\nraise ValueError('no such luck')\n",
        "cannot be imported (ValueError: no such luck)",
    ),
    "exits": (
        "import sys\nfrom app import pool\nif __name__ == '__main__':\n    pool.run()\nelse:\n    sys.exit(0)\n",
        "ends the process while it is imported",
    ),
    "crashes": (
        "import os\nfrom app import pool\nif __name__ == '__main__':\n    pool.run()\nelse:\n    os.abort()\n",
        "5 in a row ended before they were ready, the last one with code -6",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_pool_whose_workers_cannot_start_ends_with_the_reason(app: App, mistake: str) -> None:
    source, says = MISTAKES[mistake]
    write(app.folder / "serve.py", source)
    line = refused(app, "serve.py")
    assert line.startswith("agentexec.errors.ConfigurationError: ")
    assert says in line


@pytest.mark.parametrize("mistake", ["no guard", "no guard, and an exit", "no guard, asyncio"])
def test_the_command_refuses_a_module_that_runs_its_pool(app: App, mistake: str) -> None:
    write(app.folder / "serve.py", MISTAKES[mistake][0])
    line = refused(app, "-m", "agentexec", "worker", "serve:pool", code=78)
    assert line.startswith("agentexec: ")
    assert "while its module is imported" in line


@pytest.mark.parametrize("where", ["in the parent", "in the workers"])
def test_the_command_explains_a_module_that_raises(app: App, where: str) -> None:
    if where == "in the parent":
        write(app.folder / "serve.py", "raise ValueError('at redis://:hunter22@h')\n")
        line = refused(app, "-m", "agentexec", "worker", "serve:pool", code=78)
    else:
        environment = app.environment() | {"APP_BROKEN_IN_WORKERS": "1"}
        line = refused(app, "-m", "agentexec", "worker", "app:pool", env=environment, code=78)
    log = (app.folder / "pool-0.log").read_text()
    assert line.startswith("agentexec: ")
    assert "cannot be imported" in line
    assert "Traceback" in log
    assert "hunter22" not in log


def test_a_pool_that_once_had_workers_goes_on_trying(app: App, eventually: Eventually) -> None:
    """A module that is being replaced must not end a pool whose other workers run."""
    flag = app.folder / "broken"
    write(
        app.folder / "serve.py",
        f"from pathlib import Path\nassert not Path({str(flag)!r}).exists()\nfrom app import pool\n",
    )
    pool = app.run("-m", "agentexec", "worker", "serve:pool", env=app.environment(num_workers=1))
    eventually(lambda: app.client.queue.registered(), deadline=LATER)
    flag.touch()
    (worker,) = pool.workers
    worker.kill()
    eventually(lambda: "2 time(s)" in pool.log, deadline=LATER)
    flag.unlink()
    (task,) = app.enqueue(1)
    eventually(lambda: app.all_complete([task]), deadline=LATER)


def test_options_of_the_command_win(app: App, eventually: Eventually) -> None:
    """Also in the workers, which import the pool again."""
    write(
        app.folder / "serve.py",
        """
        import agentexec as ax
        import app
        pool = ax.Pool(num_workers=2, worker_concurrency=1)
        pool.registry.update({name: app.pool.registry[name] for name in ("block", "fail", "thread", "work")})
        """,
    )
    queue = f"{app.queue_name}-other"
    options = ["--workers", "1", "--concurrency", "3", "--queue", app.queue_name, "--log-level", "DEBUG"]
    environment = app.environment() | {"AGENTEXEC_QUEUE_NAME": queue, "AGENTEXEC_LOG_LEVEL": "critical"}
    tasks = app.enqueue(1, 2, 3, hold=[1])
    pool = app.run("-m", "agentexec", "worker", "serve:pool", *options, env=environment)
    eventually(lambda: all(app.begun(number) for number in (1, 2, 3)), deadline=LATER)
    assert len(pool.workers) == 1
    for number in (1, 2, 3):
        app.let_go(number)
    eventually(lambda: app.all_complete(tasks), deadline=LATER)
    says = f"1 worker \N{MULTIPLICATION SIGN} 3, tasks block, fail, thread, work, queue {app.queue_name}"
    assert pool.log.count(says) == 1, pool.log
    assert " DEBUG " in pool.log


@pytest.mark.parametrize(
    "wrong", [["--workers", "0"], ["--concurrency", "x"], ["--queue", "a b"], ["--log-level", "loud"]]
)
def test_wrong_options_are_explained(app: App, wrong: list[str]) -> None:
    pool = app.run("-m", "agentexec", "worker", "app:pool", *wrong)
    assert pool.wait(LATER) in (64, 78)
    assert pool.log.count("\n") == 1, pool.log


@pytest.mark.parametrize("command", [("-m", "agentexec", "--version"), (*CONSOLE[:-1], "--version")])
def test_the_version(app: App, command: Sequence[str]) -> None:
    from agentexec import __version__

    pool = app.run(*command)
    assert pool.wait(LATER) == 0
    assert pool.log == f"agentexec {__version__}\n"
