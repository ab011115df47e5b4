"""A copy of agentexec with one change, and a test that runs on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.breaks import Break

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("harness", "chaos", "loadtests", "tests")  # what the tests need beside agentexec


def break_copy(broken: Break, folder: Path, *, links: bool) -> None:
    """Write a copy of the package with the one change, and of what the tests need beside it.

    With `links` these are links, which is faster: for tests that start no process of their own.
    """
    _copy("agentexec", folder)
    path = folder / "agentexec" / broken.file
    path.write_text(changed(broken, path.read_text("utf-8")), "utf-8")
    for name in BESIDE:
        (folder / name).symlink_to(ROOT / name) if links else _copy(name, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)


def _copy(name: str, folder: Path) -> None:
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def changed(broken: Break, text: str) -> str:
    """The text of the file with the one change."""
    head, after, body = text.rpartition(broken.after) if broken.after else ("", "", text)
    assert broken.old in body, f"{broken.file} no longer has {broken.old!r}; break it anew"
    return head + after + body.replace(broken.old, broken.new, 1)


def run_broken(broken: Break, folder: Path, *, links: bool) -> subprocess.CompletedProcess[str]:
    """Run the test of a change on a copy in `folder`; pytest's exit code is 1 where the test notices."""
    break_copy(broken, folder, links=links)
    options = ["-n0", "-q", "-p", "no:cacheprovider", "--no-header"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, broken.test],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
