"""A container with nothing but Debian's Python, in which pip works as it does on this machine."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.environments.images import host_suite
from tests.support.environment import ROOT

CHECKOUT, GIT = "/checkout", "/checkout.git"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
KEPT = ("cert", "default-timeout", "index-url", "proxy", "trusted-host")
PIP_OPTION = re.compile(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", re.MULTILINE)


@contextmanager
def fresh_machine(network: str) -> Iterator[str]:
    """The name of the container, with this checkout as committed in `CHECKOUT`, and as a repository in `GIT`.

    `network` is one of the engine; the packages come through it.
    """
    name = f"hx-newcomer-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as text:
        folder = Path(text)
        _called("git", "clone", "--quiet", "--bare", ROOT, folder / "git")
        _called("git", "clone", "--quiet", folder / "git", folder / "checkout")
        (folder / "pip.conf").write_text(_pip_configuration(), "utf-8")
        mounts = {str(folder / "pip.conf"): "/etc/pip.conf", str(folder / "git"): GIT}
        if authorities := _pip_options().get("cert"):
            mounts[authorities] = authorities
        try:
            _import(name, folder / "root.tar")
            # pip builds in the checkout.
            volumes = [f"--volume={path}:{place}:ro" for path, place in mounts.items()]
            volumes.append(f"--volume={folder / 'checkout'}:{CHECKOUT}")
            command = ("run", "--detach", "--init", f"--network={network}", f"--name={name}", *volumes)
            _called("docker", *command, name, "sleep", "1800")
            yield name
        finally:
            for words in (("rm", "--force", "--volumes", name), ("rmi", "--force", name)):
                subprocess.run(["docker", *words], capture_output=True, check=False)


def _import(name: str, archive: Path) -> None:
    """Make the image: what Debian calls required, apt, Python and the certificates that a download needs."""
    sources = [SOURCES] if SOURCES.is_file() else []
    packages = "--include=python3,ca-certificates"
    _called("mmdebstrap", "--quiet", "--variant=minbase", packages, host_suite(), archive, *sources)
    _called("docker", "import", archive, name)


def _called(*words: object) -> None:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{words[0]} {words[1]}` ended with {done.returncode}: {done.stderr[-2000:]}")


def _pip_options() -> Mapping[str, str]:
    """How pip reaches an index from this machine, by its files and by variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    return {name: value for name, value in PIP_OPTION.findall(listed.stdout) if name in KEPT}


def _pip_configuration() -> str:
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in _pip_options().items()), ""])
