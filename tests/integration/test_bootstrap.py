"""The private environment that the noxfile creates if nox is missing: created once, and complete or not used.

The tests use venv and pip, and a wheel of two lines in place of nox. They need no network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Eventually

ROOT = Path(__file__).resolve().parents[2]
BASE_PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
NOX = "import sys\nraise SystemExit(print('nox in', sys.prefix, 'got', *sys.argv[1:]))\n"
METADATA = "Metadata-Version: 2.1\nName: nox\nVersion: 0.0.1\n"
TAGS = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

pytestmark = pytest.mark.integration


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkout:
    """A folder with the noxfile and its pins, and the folder of wheels that pip installs from."""

    folder: Path
    wheels: Path

    @property
    def environment(self) -> Path:
        """The folder of the private environment."""
        (found,) = (self.folder / ".nox").glob("bootstrap-*-python*")
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the noxfile in a new process group, with a Python that has no installed packages."""
        environment = {
            "HOME": str(self.folder),
            "PATH": "/usr/bin:/bin",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
        }
        return subprocess.Popen(
            [BASE_PYTHON, "-S", self.folder / "noxfile.py", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run the noxfile to its end; returns exit code, standard output and standard error."""
        return ended(self.start(*arguments))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a run; waits at most a minute."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A new checkout, and a wheel in place of nox."""
    made = Checkout(folder=tmp_path / "a checkout", wheels=tmp_path / "wheels")
    made.folder.mkdir()
    made.wheels.mkdir()
    shutil.copy(ROOT / "noxfile.py", made.folder)
    (made.folder / "constraints.txt").write_text("nox==0.0.1\n", "utf-8")
    with zipfile.ZipFile(made.wheels / "nox-0.0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nox/__init__.py", NOX)
        wheel.writestr("nox-0.0.1.dist-info/METADATA", METADATA)
        wheel.writestr("nox-0.0.1.dist-info/WHEEL", TAGS)
        wheel.writestr("nox-0.0.1.dist-info/RECORD", "")
    return made


def test_the_first_run_installs_the_pinned_nox_and_the_second_uses_it(checkout: Checkout) -> None:
    first = checkout.run("-s", "chaos", "--", "a b")
    second = checkout.run("-s", "chaos", "--", "a b")
    expected = f"nox in {checkout.environment} got -s chaos -- a b\n"
    assert first[:2] == second[:2] == (0, expected)
    assert "installing nox 0.0.1" in first[2]
    assert second[2] == ""


def test_two_first_runs_at_once_install_one_environment_and_both_succeed(checkout: Checkout) -> None:
    both = [ended(run) for run in [checkout.start("one"), checkout.start("two")]]
    assert [code for code, _, _ in both] == [0, 0]
    assert [out.split()[-1] for _, out, _ in both] == ["one", "two"]
    assert sum("installing nox" in err for _, _, err in both) == 1


def test_a_run_killed_half_way_does_not_break_the_next(checkout: Checkout, eventually: Eventually) -> None:
    run = checkout.start("one")
    eventually(lambda: list(checkout.folder.glob(".nox/bootstrap-*/bin/python")), deadline=30)
    os.killpg(run.pid, signal.SIGKILL)
    assert ended(run)[0] == -signal.SIGKILL
    left_over = checkout.environment / "left-over"
    left_over.touch()
    code, out, _ = checkout.run("two")
    assert (code, out.split()[-1]) == (0, "two")
    assert not left_over.exists()


def test_a_failed_install_names_the_remedy_and_the_next_run_starts_again(checkout: Checkout) -> None:
    wheel = next(checkout.wheels.iterdir())
    hidden = wheel.rename(checkout.folder / wheel.name)
    code, out, err = checkout.run("one")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith(
        "could not be installed, see above; check the network and run it again."
    )
    assert "Traceback" not in err
    hidden.rename(wheel)
    assert checkout.run("two")[0] == 0


def test_a_damaged_environment_is_named_and_not_used_again(checkout: Checkout) -> None:
    assert checkout.run("one")[0] == 0
    shutil.rmtree(next(checkout.environment.glob("lib/python*/site-packages/nox")))
    code, _, err = checkout.run("two")
    assert code == 2
    assert (
        err
        == f"noxfile.py: the environment {checkout.environment} is damaged; delete that folder and run it again.\n"
    )
