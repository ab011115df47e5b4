"""The environments of adapters: installed once, by one process at a time, and complete or not used."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import TargetFailed, UsageError
from harness.targets.adapter_environment import AdapterEnvironment, cache_folder
from harness.targets.adapter_file import read_adapter
from tests.conftest import Eventually

pytestmark = pytest.mark.integration

INSTALL = """
import sys
from pathlib import Path
from harness.targets.adapter_environment import AdapterEnvironment
from harness.targets.adapter_file import read_adapter
AdapterEnvironment(read_adapter(Path(sys.argv[1]))).create(lambda text: print(text, flush=True))
"""


def write_wheel(folder: Path, version: str = "1.5") -> str:
    """A wheel with one module, which no index has; returns its name."""
    name = f"tinyqueue-{version}-py3-none-any.whl"
    info = f"tinyqueue-{version}.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("tinyqueue.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinyqueue\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name


Write = Callable[..., AdapterEnvironment]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def write(*requirements: str) -> AdapterEnvironment:
        file = tmp_path / "adapter.toml"
        file.write_text(
            f'name = "tiny.queue"\ndistribution = "tinyqueue"\nrequirements = {list(requirements)}\n'
            'pool = ["{python}"]\nclient = ["{python}"]\n'
        )
        return AdapterEnvironment(read_adapter(file))

    return write


def test_an_environment_is_installed_once_and_again_if_its_python_is_gone(
    environment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = environment(f"./{write_wheel(tmp_path)}")
    own_pip = found.folder / "bin" / "pip"
    said: list[str] = []
    assert (found.is_complete, found.version()) == (False, None)
    found.create(said.append)
    found.create(said.append)
    assert said == [f"installing tiny.queue into {found.folder}"]
    assert (found.is_complete, found.version(), own_pip.exists()) == (True, "1.5", False)
    program = "import sys, tinyqueue; print(tinyqueue.version, 'pytest' in sys.modules)"
    assert subprocess.check_output([found.python, "-c", program], env={}, text=True) == "1.5 False\n"
    Path(found.python).unlink()
    Path(found.python).symlink_to("/no/python")
    assert not found.is_complete
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "22.0.2")  # too old to install elsewhere
    found.create(said.append)
    assert (found.is_complete, len(said), own_pip.exists()) == (True, 2, True)


def test_other_requirements_have_another_folder(environment: Write) -> None:
    first, second, third = environment("a"), environment("a", "b"), environment("b", "a")
    assert first.folder != second.folder
    assert second.folder == third.folder


def test_an_adapter_without_requirements_uses_the_python_of_the_harness(environment: Write) -> None:
    found = environment()
    found.create(lambda text: pytest.fail(text))
    assert (found.python, found.is_own) == (sys.executable, False)


def test_a_requirement_that_pip_does_not_find_is_named_and_the_next_attempt_begins_again(
    environment: Write, tmp_path: Path
) -> None:
    found = environment("tinyqueue==9")
    with pytest.raises(
        TargetFailed, match=r"tinyqueue==9 of the adapter tiny.queue could not be installed.*pip"
    ):
        found.create(lambda text: None)
    assert not found.is_complete
    write_wheel(tmp_path, "9")
    os.environ["PIP_FIND_LINKS"] = str(tmp_path)
    try:
        found.create(lambda text: None)
    finally:
        del os.environ["PIP_FIND_LINKS"]
    assert found.version() == "9"


def test_a_second_process_waits_for_the_first_and_installs_nothing(
    environment: Write, tmp_path: Path
) -> None:
    found = environment(f"./{write_wheel(tmp_path)}")
    command = [sys.executable, "-c", INSTALL, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=90)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("installing") == 1
    assert found.is_complete


def test_after_sigkill_in_the_middle_of_an_installation_it_is_made_again(
    environment: Write, tmp_path: Path, eventually: Eventually
) -> None:
    found = environment(f"./{write_wheel(tmp_path)}")
    process = subprocess.Popen([sys.executable, "-c", INSTALL, str(tmp_path)], stdout=subprocess.DEVNULL)
    eventually(lambda: found.folder.exists(), deadline=60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not found.is_complete
    found.create(lambda text: None)
    assert found.version() == "1.5"


def test_a_cache_that_cannot_be_written_to_is_named(
    environment: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="Set HARNESS_CACHE to a folder that can be written to"):
        environment("a").create(lambda text: None)


def test_the_cache_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/agentexec-harness/targets")
