"""What goes into the images and where it comes from, without building any; the build itself runs for the containers."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from harness.environments import images
from harness.environments.base import SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_each_image_has_an_entrypoint_that_a_shell_can_read(service: str) -> None:
    script = Path(images.__file__).with_name("image_files") / f"{service}-entrypoint.sh"
    done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize(
    ("release", "suite"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, "trixie"),
        ({"ID": "debian"}, "bookworm"),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble"}, "bookworm"),
    ],
)
def test_packages_come_from_the_release_of_a_debian_machine(
    release: dict[str, str], suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert images.host_suite() == suite


def test_an_unknown_distribution_gets_a_stable_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", unknown)
    assert images.host_suite() == "bookworm"
