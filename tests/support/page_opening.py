"""How long a browser takes to open a page: `python -m tests.support.page_opening FILE...` prints milliseconds.

Headless Chromium opens a copy of each page without its policy, with a script that notes the time at which the page is
loaded, its own script has run and its layout is computed. Times count from the start of the navigation, so the start of
the browser is not in them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
)
NOTE = """<script>addEventListener("load", () => {
  const height = document.body.offsetHeight;
  document.documentElement.dataset.opened = `${Math.round(performance.now())} ms, ${height} px`;
});</script>"""


def browser() -> str | None:
    """The path of a browser; None if none is installed."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def opened_in(page: Path, command: str) -> int:
    """Milliseconds from the navigation to the layout of the whole page."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', NOTE, page.read_text("utf-8"))
        copy.write_text(html, "utf-8")
        arguments = [command, *QUIET, f"--user-data-dir={folder}/profile", "--dump-dom"]
        done = subprocess.run([*arguments, copy.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-opened="(\d+) ms', done.stdout)
    assert found is not None, done.stderr[-500:]
    return int(found[1])


if __name__ == "__main__":
    path = browser()
    assert path is not None, f"none of {', '.join(BROWSERS)} is on PATH"
    for name in sys.argv[1:]:
        print(f"{min(opened_in(Path(name), path) for _ in range(3)):6} ms  {name}")
