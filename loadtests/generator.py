"""Locust as a child process: gevent patches the whole of its own process and nothing of ours."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import loadtests
from harness.errors import TargetFailed
from harness.masking import masked
from harness.progress import Progress
from loadtests.ledger import ENV_LEDGER, counted
from loadtests.profiles import Profile

_LOCUSTFILE = Path(loadtests.__file__).with_name("locustfile.py")
_TELL_EVERY = 5.0
_STARTS_WITHIN = 30.0
_STOP_TIMEOUT = 10
_STOPS_WITHIN = 5.0
_LAST_LINES = 12
_MACHINE = re.compile(r"^(\[[^\]]+\] )[^/\s]+/", re.MULTILINE)
"""Where Locust's log lines name the machine, which is nobody's business in a report."""


def run_locust(
    profile: Profile,
    *,
    variables: Mapping[str, str],
    folder: Path,
    ledger: Path,
    html: Path,
    progress: Progress,
) -> float:
    """Run the load to its end, with the drain; returns its seconds. `ledger` is the folder of its evidence.

    Raises `TargetFailed` with the end of Locust's output where it fails, or does not end in time. Locust's log is
    `locust.log` beside the HTML report.
    """
    log = folder / "locust.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(profile, html),
            cwd=folder,  # a locust.conf where somebody happens to stand is not ours
            env={**variables, ENV_LEDGER: str(ledger)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal is ours to handle: everything is stopped in order.
            start_new_session=True,
        )
    try:
        code = _wait(process, profile, ledger, progress)
    finally:
        _end(process)
        said = _MACHINE.sub(r"\1", masked(log.read_text(encoding="utf-8", errors="replace")))
        html.with_name("locust.log").write_text(said, encoding="utf-8")
    if code != 0:
        how = "did not end in time" if code is None else f"ended with code {code}"
        last = "\n".join(said.strip().splitlines()[-_LAST_LINES:]) or "nothing"
        raise TargetFailed(f"Locust {how}. It wrote: {last}")
    return time.monotonic() - began


def command(profile: Profile, html: Path) -> list[str]:
    """The command line of Locust; URLs are in its environment, for they hold passwords."""
    values = {
        "--locustfile": _LOCUSTFILE,
        "--users": profile.users,
        "--spawn-rate": f"{profile.spawn_rate:g}",
        "--run-time": f"{profile.duration:g}s",
        "--stop-timeout": _STOP_TIMEOUT,
        "--html": html,
        "--exit-code-on-error": 0,  # failed requests are for the service levels to judge
        "--load-profile": profile.name,
        "--load-drain": f"{profile.slo.drain_seconds:g}",
        "--profile": profile.name,  # shown in Locust's report
    }
    options = [str(word) for pair in values.items() for word in pair]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *options]


def _wait(process: subprocess.Popen[bytes], profile: Profile, ledger: Path, progress: Progress) -> int | None:
    """The exit code, None if it has not ended when it should have; tells how far the load has come."""
    began = time.monotonic()
    within = _STARTS_WITHIN + profile.duration + _STOP_TIMEOUT + profile.slo.drain_seconds
    while (left := began + within - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(_TELL_EVERY, left))
        progress.step(f"{counted(ledger, 'enqueue')} tasks acknowledged, {counted(ledger, 'complete')} over")
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def require_locust() -> None:
    """Raise `TargetFailed` where Locust is not installed; looked up only, for importing it patches this process."""
    if importlib.util.find_spec("locust") is None:
        raise TargetFailed(
            "Locust is not installed for this Python. Install it with the extra: agentexec-harness[load]."
        )
