"""The report in a real browser: its own policy lets its style and script through, and every picture has a size."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness.report import write_reports
from tests.support.report_samples import invalid_run, unknown_run, valid_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--dump-dom",
]


@pytest.fixture
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        reason = f"none of {', '.join(BROWSERS)} is on PATH; install one (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def dump(browser: str, page: Path, profile: Path) -> tuple[str, str]:
    """The page's elements after its script ran, and what the browser logged."""
    command = [browser, *QUIET, f"--user-data-dir={profile}", page.as_uri()]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            return process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.integration
def test_a_browser_runs_the_script_and_has_nothing_to_complain_about(browser: str, tmp_path: Path) -> None:
    paths = write_reports([valid_run(), invalid_run(), unknown_run()], tmp_path / "report")
    elements, log = dump(browser, paths.html, tmp_path / "profile")
    assert "CONSOLE" not in log
    # The script shows the search for a task and puts the first bar of each timeline in the tab order.
    assert elements.count('<label class="find">') == 3
    assert elements.count('role="img" tabindex="0"') == 3
    assert elements.count('<svg class="picture') == 8
