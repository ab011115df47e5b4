"""The example of the documentation passes, in an environment without servers."""

import subprocess
import sys

from tests.house.sources import ROOT


def test_the_example_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/testing_handlers.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "3 passed" in run.stdout, run.stdout + run.stderr
