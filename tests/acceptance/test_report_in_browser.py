"""The report in a real browser: its own policy lets its style and script through, and its search, lists and print."""

import base64
import hashlib
import html
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.history import History
from harness.history.submissions import submissions
from harness.load.document import load_document
from harness.load.page import load_html
from harness.load.stages import steps
from harness.load.verdict import judge
from harness.report import write_reports
from harness.scenario import ScenarioRun
from loadtests.bench.history import made
from tests.support.load_samples import sample
from tests.support.page_opening import BROWSERS, QUIET, browser, opened_in
from tests.support.report_samples import invalid_run, lost_results, run_of, unknown_run, valid_run

pytestmark = pytest.mark.integration


@pytest.fixture
def command() -> str:
    found = browser()
    if found is None:
        reason = f"none of {', '.join(BROWSERS)} is on PATH; install one (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def dump(browser: str, page: Path, profile: Path) -> tuple[str, str]:
    """The page's elements after its script ran, and what the browser logged."""
    arguments = [browser, *QUIET, "--virtual-time-budget=5000", "--dump-dom", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [*arguments, page.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            return process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def result_of(browser: str, page: Path, script: str, folder: Path) -> Any:
    """What a script returns that runs in the page after the page's own one; the policy of the page allows it too."""
    script = f"""(async () => {{ {script} }})().then((found) => {{
      const described = document.createElement("pre");
      described.id = "result";
      described.textContent = JSON.stringify(found);
      document.body.append(described);
    }});"""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page.read_text("utf-8").replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    changed = folder / "changed.html"
    changed.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    elements, log = dump(browser, changed, folder / "profile")
    assert "CONSOLE" not in log
    found = re.search(r'<pre id="result">(.*?)</pre>', elements, re.DOTALL)
    assert found is not None, log[-500:]
    return json.loads(html.unescape(found[1]))


def written(folder: Path, *runs: ScenarioRun) -> Path:
    return write_reports(runs, folder / "report").html


WAIT = "const later = (ms) => new Promise((done) => setTimeout(done, ms));"
TYPE = """const type = async (selector, text) => {
  const input = document.querySelector(selector);
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  await later(300);
};"""


def test_a_browser_runs_the_script_and_has_nothing_to_complain_about(command: str, tmp_path: Path) -> None:
    page = written(tmp_path, valid_run(), invalid_run(), unknown_run())
    elements, log = dump(command, page, tmp_path / "profile")
    assert "CONSOLE" not in log
    # The script shows the search for a task and puts the first bar of each timeline in the tab order.
    assert elements.count('<label class="find">') == 3
    assert elements.count('role="img" tabindex="0"') == 3
    assert elements.count('<svg class="picture') == 8


def test_the_search_finds_tasks_by_text_and_opens_what_it_found(command: str, tmp_path: Path) -> None:
    page = written(tmp_path, valid_run(), invalid_run())
    script = f"""{WAIT}{TYPE}
    const state = () => ({{
      hits: document.querySelector(".hits").textContent,
      open: [...document.querySelectorAll(".fold")].map((one) => one.open),
      rows: [...document.querySelectorAll("[data-tasks] tbody")].map((body) => [...body.rows].map(
        (row) => row.cells[0].textContent)),
      stories: [...document.querySelectorAll(".story")].filter((one) => !one.hidden).length,
    }});
    const first = state();
    await type(".search input", "a00048");
    const one = state();
    await type(".search input", "a00048 worker-4108 LOST");
    const narrow = state();
    await type(".search input", "no such thing");
    const none = state();
    await type(".search input", "");
    return [first, one, narrow, none, state()];"""
    first, one, narrow, none, again = result_of(command, page, script, tmp_path)
    assert (first["hits"], first["open"], first["stories"]) == (
        "",
        [True, False],
        12,
    )  # INVALID first and open
    assert (one["hits"], one["open"], one["stories"]) == ("2 tasks", [True, True], 1)
    assert one["rows"] == [["task 48"], ["task 48"]]
    assert (narrow["hits"], narrow["rows"]) == ("1 task", [["task 48"], []])
    assert (none["hits"], none["stories"]) == ("0 tasks", 0)
    assert (again["hits"], again["open"], again["stories"]) == ("", [True, False], 12)


def test_the_list_of_tasks_filters_by_status_activity_and_worker(command: str, tmp_path: Path) -> None:
    page = written(tmp_path, invalid_run())
    script = f"""{WAIT}{TYPE}
    const box = document.querySelector("[data-tasks]");
    const rows = () => [...box.querySelectorAll("tbody tr")];
    const counted = () => [rows().length, box.querySelector("output").textContent];
    const before = rows().length;
    box.open = true;
    await later(100);
    const all = counted();
    box.querySelector(".next").click();
    const more = rows().length;
    await type("[name=status]", "lost");
    const lost = [...counted(), rows().every((row) => row.cells[2].textContent === "lost")];
    await type("[name=worker]", "worker-4108");
    const worker = [...counted(), rows().every((row) => row.cells[8].textContent.includes("worker-4108"))];
    await type("[name=activity]", "A0006");
    const activity = rows().map((row) => row.cells[3].textContent);
    const link = rows()[0].querySelector("a").getAttribute("href");
    return {{ before, all, more, lost, worker, activity, target: document.querySelector(link) !== null }};"""
    found = result_of(command, page, script, tmp_path)
    assert found["before"] == 0  # rows become elements when the list is opened
    assert found["all"] == [100, "200 of 200"]
    assert found["more"] == 200
    assert found["lost"] == [12, "12 of 200", True]
    assert found["worker"][1:] == ["4 of 200", True]
    assert found["activity"] == ["a00060", "a00065", "a00066"]
    assert found["target"]


def test_printed_everything_is_open_and_counterexamples_keep_their_task_numbers(
    command: str, tmp_path: Path
) -> None:
    plain = CheckResult(
        verdict=Verdict.INVALID,
        summary="wrong",
        counterexamples=({"task": 9_999, "kind": "lost", "why": "gone"},),
    )
    run = invalid_run()
    page = written(tmp_path, valid_run(), invalid_run(results={**run.results, "own": plain}))
    style, changed = re.findall(r"<style>(.*?)</style>", page.read_text("utf-8"), re.DOTALL)[0], ""
    changed = style.replace("@media print {", "@media all {").replace("@media screen and", "@media print and")
    before, after = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, changed)
    )
    text = page.read_text("utf-8").replace(style, changed).replace(before, after)
    page.write_text(text, "utf-8")
    script = """dispatchEvent(new Event("beforeprint"));
    const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.offsetHeight > 0);
    const printed = {
      closed: document.querySelectorAll("details:not([open])").length,
      tasks: seen(".example .task").map((one) => one.textContent),
      bar: getComputedStyle(document.querySelector(".stay")).position,
      search: seen(".search, .copy, .next, .filters").length,
    };
    dispatchEvent(new Event("afterprint"));
    return { ...printed, after: document.querySelectorAll("details:not([open])").length };"""
    found = result_of(command, page, script, tmp_path)
    lost = [f"task {member['task']}" for member in run.results["delivery"].counterexamples]
    assert found["closed"] == 0
    assert found["tasks"] == [
        *lost,
        "task 9999",
    ]  # the history does not know task 9999: it has no story to link to
    assert (found["bar"], found["search"]) == ("static", 0)
    assert found["after"] > 0


def test_a_page_of_many_tasks_opens_about_as_fast_as_a_small_one(command: str, tmp_path: Path) -> None:
    small, large = (
        written(tmp_path / name, run) for name, run in (("small", valid_run()), ("large", large_run()))
    )
    assert large.stat().st_size < 6_000_000
    first, second = (min(opened_in(page, command) for _ in range(2)) for page in (small, large))
    # Both are measured on the same machine, so the bound is a ratio and not a time.
    assert second < 12 * first, f"{first} ms and {second} ms"


def large_run() -> ScenarioRun:
    """100,000 operations, and every task a counterexample."""
    history = History(tuple(made(100_000)))
    return run_of(history, results=lost_results({one.task for one in submissions(history)}))


def test_the_page_of_a_load_opens_without_a_script_and_without_a_fault(command: str, tmp_path: Path) -> None:
    evidence, time = sample(1500, steps(20, 20, every="5s"))
    document = load_document(
        judge(evidence, {"TASK answer": "p95 < 1ms"}), written_at="2026-11-27T00:00:00+00:00"
    )
    page = tmp_path / "report.html"
    page.write_text(load_html(document, time))
    elements, log = dump(command, page, tmp_path / "profile")
    assert "CONSOLE" not in log, "the policy refused a style of the page"
    assert elements.count('<svg class="picture') == 7
