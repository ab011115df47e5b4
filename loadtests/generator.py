"""Runs Locust as a child process, because gevent patches the whole process."""

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
from loadtests.profiles import Profile
from loadtests.submission_log import ENV_FOLDER, counted

_LOCUSTFILE = Path(loadtests.__file__).with_name("locustfile.py")
_PROGRESS_SECONDS = 5.0
_START_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 10
_TERMINATION_SECONDS = 5.0
_LAST_LINES = 12
# The name of the machine in Locust's log lines, which is removed from the report.
_MACHINE = re.compile(r"^(\[[^\]]+\] )[^/\s]+/", re.MULTILINE)


def run_locust(
    profile: Profile,
    *,
    variables: Mapping[str, str],
    folder: Path,
    history: Path,
    html: Path,
    progress: Progress,
) -> float:
    """Run the load and the drain; returns the seconds that both took. `history` is the folder of its history.

    Raises `TargetFailed` with the end of Locust's output if it fails or does not end in time. Locust's log is
    `locust.log` beside the HTML report.
    """
    log = folder / "locust.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(profile, html),
            cwd=folder,  # not the current folder, which may contain a locust.conf
            env={**variables, ENV_FOLDER: str(history)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal must reach this process only, which then stops everything in order.
            start_new_session=True,
        )
    try:
        code = _wait(process, profile, history, progress)
    finally:
        _end(process)
        output_text = _MACHINE.sub(r"\1", masked(log.read_text(encoding="utf-8", errors="replace")))
        html.with_name("locust.log").write_text(output_text, encoding="utf-8")
    if code != 0:
        how = "did not end in time" if code is None else f"ended with code {code}"
        last = "\n".join(output_text.strip().splitlines()[-_LAST_LINES:]) or "nothing"
        raise TargetFailed(f"Locust {how}. It wrote: {last}")
    return time.monotonic() - began


def command(profile: Profile, html: Path) -> list[str]:
    """The command line of Locust, without URLs, because they contain passwords."""
    values = {
        "--locustfile": _LOCUSTFILE,
        "--users": profile.users,
        "--spawn-rate": f"{profile.spawn_rate:g}",
        "--run-time": f"{profile.duration:g}s",
        "--stop-timeout": _STOP_TIMEOUT_SECONDS,
        "--html": html,
        "--exit-code-on-error": 0,  # the service levels judge failed requests
        "--load-profile": profile.name,
        "--load-drain": f"{profile.slo.drain_seconds:g}",
        "--profile": profile.name,  # shown in Locust's report
    }
    options = [str(word) for pair in values.items() for word in pair]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *options]


def _wait(
    process: subprocess.Popen[bytes], profile: Profile, history: Path, progress: Progress
) -> int | None:
    """The exit code, or None if the process does not end in time; reports progress."""
    began = time.monotonic()
    within = _START_SECONDS + profile.duration + _STOP_TIMEOUT_SECONDS + profile.slo.drain_seconds
    while (left := began + within - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(_PROGRESS_SECONDS, left))
        progress.step(
            f"{counted(history, 'enqueue')} tasks acknowledged, {counted(history, 'complete')} finished"
        )
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_TERMINATION_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def require_locust() -> None:
    """Raise `TargetFailed` if Locust is not installed. Importing it would patch this process."""
    if importlib.util.find_spec("locust") is None:
        raise TargetFailed(
            "Locust is not installed for this Python. Install it with the extra: agentexec-harness[load]."
        )
