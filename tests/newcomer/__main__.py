"""`python -m tests.newcomer`: every step of docs/production in a container with nothing but Debian's Python.

Exit codes: 0 if each command does what its page shows, 1 if one does not.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.newcomer.machine import CHECKOUT, GIT, fresh_machine
from tests.newcomer.pages import ORDER, steps
from tests.newcomer.shell import Shell

# Debian's pip wants a host in the URL of a requirement.
VARIABLES = (
    f"GIT_URL=file://localhost{GIT}",
    "DEBIAN_FRONTEND=noninteractive",
    "LANG=C.UTF-8",
    "LOCUST_LOAD_LATENESS=30",  # other work uses this machine
)
LONGEST = 100  # characters of a command that is printed


def main() -> int:
    """Take the path; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.newcomer", description=__doc__)
    parser.add_argument("--network", default="bridge", help="network of the engine for the container: bridge")
    network = parser.parse_args().network
    began = time.monotonic()
    with fresh_machine(network) as name:
        _report(began, f"the container {name} is up")
        options = [f"--env={one}" for one in VARIABLES]
        shell = Shell(["docker", "exec", "-i", *options, f"--workdir={CHECKOUT}", name, "bash", "--norc"])
        try:
            code = _walk(shell, began)
        finally:
            shell.close()
    return code


def _walk(shell: Shell, began: float) -> int:
    """Take all steps, also after one that fails: what else is wrong shows at once."""
    path, failures = steps(fresh=True), 0
    for step in path:
        code, output = shell.run(step.line)
        _report(began, f"{step.page}: {step.line.splitlines()[0][:LONGEST]}")
        if code or not step.fits(output):
            failures += 1
            print(f"newcomer: {step.page}: the command\n{step.line}\nended with {code}:\n{output}")
        elif step.shown.strip():
            print(f"    {output.strip()[:LONGEST]}")
    counted = f"{len(path)} steps of {len(ORDER)} pages, {failures} failed"
    print(f"newcomer: {counted} ({time.monotonic() - began:.0f} s)")
    return 1 if failures else 0


def _report(began: float, text: str) -> None:
    print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
