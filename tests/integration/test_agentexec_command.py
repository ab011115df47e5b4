"""Pools started as scripts, modules and commands, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agentexec as ax
from agentexec.worker.loading import load_pool
from agentexec.worker.reference import PoolReference

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
APP = """
import json
import sys
from dataclasses import asdict
from pathlib import Path
import agentexec as ax
from agentexec.worker.reference import PoolReference

hidden = {"pool": ax.Pool()}
pool = ax.Pool()
not_a_pool = 5

if __name__ == "__main__":
    print(json.dumps(asdict(PoolReference.of(pool))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(APP)
    return tmp_path


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AGENTEXEC_") and name not in ("DATABASE_URL", "REDIS_URL")
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment | {"PYTHONPATH": f"{ROOT}:{folder}"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_pool_in_a_script_is_found_by_its_path(folder: Path) -> None:
    answer = run(folder, "shop/tasks.py")
    reference = PoolReference(**json.loads(answer.stdout))
    assert (reference.path, reference.attribute) == (str(folder / "shop" / "tasks.py"), "pool")
    assert isinstance(load_pool(reference), ax.Pool), "its `if __name__` part is not run"


def test_a_pool_run_with_dash_m_is_found_by_its_module(folder: Path) -> None:
    reference = PoolReference(**json.loads(run(folder, "-m", "shop.tasks").stdout))
    assert (reference.module, reference.path) == ("shop.tasks", None)


def test_a_pool_made_in_an_interactive_session_is_refused(folder: Path) -> None:
    code = "import agentexec as ax; from agentexec.worker.reference import PoolReference as R; p = ax.Pool(); R.of(p)"
    assert "put it into a file" in run(folder, "-c", code).stderr


@pytest.mark.parametrize(
    ("pool", "code", "says"),
    [
        ("shop.tasks", 78, "package.module:pool"),
        ("shop.nothing:pool", 64, "there is no module"),
        ("nothing:pool", 64, "there is no module"),
        ("shop.tasks:not_a_pool", 78, "not an agentexec Pool"),
        ("shop.tasks:pool", 78, "no task"),
    ],
)
def test_a_pool_that_cannot_be_run_is_explained_without_a_traceback(
    folder: Path, pool: str, code: int, says: str
) -> None:
    answer = run(folder, "-m", "agentexec", "worker", pool)
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.returncode == code


def test_a_pool_without_servers_is_explained_without_a_traceback(folder: Path) -> None:
    (folder / "app.py").write_text(
        "from uuid import UUID\nfrom pydantic import BaseModel\nimport agentexec as ax\npool = ax.Pool()\n"
        "@pool.task('x')\nasync def x(agent_id: UUID, context: BaseModel) -> None: ...\n"
    )
    answer = run(folder, "-m", "agentexec", "worker", "app:pool")
    assert (answer.returncode, "DATABASE_URL" in answer.stderr) == (78, True)
    dead = {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/d", "REDIS_URL": "redis://:hush@127.0.0.1:1"}
    answer = run(folder, "-m", "agentexec", "worker", "app:pool", **dead)
    assert answer.returncode in (69, 78)
    assert "does not answer" in answer.stderr
    assert "hush" not in answer.stderr
    assert "Traceback" not in answer.stderr
