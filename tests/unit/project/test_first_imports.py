"""Every module can be the first one that a process imports."""

import subprocess
import sys

from tests.house.sources import ROOT


def test_every_module_can_be_imported_before_any_other() -> None:
    """Most of the time is for the classes that the modules build."""
    command = [sys.executable, "-m", "tests.house.first_imports"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4_000:] + ended.stdout
