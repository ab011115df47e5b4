"""report.html: everything is in it, nothing is fetched, and no string of a history becomes markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.report.page import EXPANDED, report_html
from harness.report.picture_data import picture_data
from harness.report.svg import tag as element
from harness.report.timeline import timeline
from harness.scenario import ScenarioRun
from tests.support.report_samples import (
    INFO,
    INVOKE,
    SampleHistory,
    empty_run,
    invalid_run,
    kill_history,
    run_of,
    unknown_run,
    valid_run,
)

VOID = {"meta", "input", "br", "hr", "link", "img"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00\x1b"


class Page(HTMLParser):
    """Raises on a tag that is closed out of turn; keeps attributes, ids and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(*runs: ScenarioRun, folder: Path = Path("/nowhere")) -> str:
    return report_html(runs, folder=folder, written_at="2026-01-02T03:04:05+00:00")


@pytest.fixture(scope="module")
def all_three() -> str:
    return page(valid_run(), invalid_run(), unknown_run())


def test_the_page_is_well_formed_and_its_ids_are_unique(all_three: str) -> None:
    ids = [attrs["id"] for _, attrs in Page(all_three).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing_from_anywhere(all_three: str) -> None:
    assert not re.search(r"https?://", all_three)
    for tag, attrs in Page(all_three).tags:
        assert tag not in {"link", "img", "iframe", "object", "base"}
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")


def test_the_policy_allows_exactly_the_style_and_the_script_that_are_in_the_page(all_three: str) -> None:
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", all_three, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        policy = next(attrs["content"] for _, attrs in Page(all_three).tags if "http-equiv" in attrs)
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in all_three
        assert policy is not None
        assert policy.startswith("default-src 'none';")
    assert not any(
        name == "style" or name.startswith("on") for _, attrs in Page(all_three).tags for name in attrs
    )


def test_the_page_names_verdict_seed_command_servers_and_the_lost_tasks() -> None:
    run = invalid_run()
    text = Page(page(run)).text
    lost = [member["task"] for member in run.results["delivery"].counterexamples]
    for expected in (
        "INVALID",
        str(run.seed),
        run.repeat,
        "PostgreSQL 18.6, Valkey 9.1.2",
        "planted-pop 0.1.0",
        "embedded",
    ):
        assert expected in text
    assert lost
    listed = " ".join(f"task {task}" for task in lost)
    assert f"lost acknowledged and never completed {listed}" in text


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (
            [valid_run()],
            "The scenario holds: 200 tasks through 4 faults, 4 processes killed, nothing lost and nothing",
        ),
        (
            [valid_run(), unknown_run()],
            "1 of 2 scenarios reached no verdict. sigterm-drain: the drain did not end",
        ),
        (
            [unknown_run(), invalid_run()],
            "kill-worker-mid-task: delivery: 12 of 200 acknowledged tasks were lost (tasks 48, 60,",
        ),
        ([], "Nothing was run"),
        ([empty_run()], "The scenario reached no verdict. nothing: no checker was run"),
    ],
)
def test_the_first_sentence_has_the_verdict(runs: list[ScenarioRun], expected: str) -> None:
    assert expected in Page(page(*runs)).text


def test_no_string_of_a_run_becomes_markup_or_keeps_a_control_character() -> None:
    bad = CheckResult(
        verdict=Verdict.INVALID,
        summary=HOSTILE,
        figures={HOSTILE: 1},
        counterexamples=({"task": HOSTILE, "kind": HOSTILE, "why": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}},),
    )
    sample = SampleHistory()
    sample.add(0, HOSTILE, INFO, "hello", pid=1)
    sample.add(1, HOSTILE, INVOKE, "run", task=1, activity=HOSTILE)
    sample.add(2, "nemesis", INFO, HOSTILE, fault=1, phase="inject", kind="pause", pids=[1], pool=HOSTILE)
    sample.add(3, HOSTILE, INFO, "exit", pid=1, code=0)
    names = {
        "scenario": HOSTILE,
        "summary": HOSTILE,
        "backend": HOSTILE,
        "target": HOSTILE,
        "repeat": HOSTILE,
    }
    html = page(run_of(sample.history([HOSTILE]), results={HOSTILE: bad}, error=HOSTILE, **names))
    tags = [tag for tag, _ in Page(html).tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "\x00" not in html
    assert "\x1b" not in html


def test_no_password_reaches_the_page() -> None:
    url = "postgresql://ax:hunter2@127.0.0.1/db"
    bad = CheckResult(
        verdict=Verdict.INVALID,
        summary=url,
        counterexamples=({"task": 1, "why": url, "log": [url], "error": url},),
    )
    history, _ = kill_history(tasks=5, kills=1)
    html = page(
        run_of(history, results={"x": bad}, error=url, repeat=f"harness --database {url}", summary=url)
    )
    assert "hunter2" not in html
    assert "postgresql://ax:***@127.0.0.1/db" in html


def test_counterexamples_past_the_first_twenty_are_folded_away() -> None:
    history, _ = kill_history(
        tasks=5, kills=1
    )  # the history has no operation of most tasks: each stands alone
    members = tuple({"task": task, "kind": "lost", "why": f"gone {task}"} for task in range(1, 31))
    result = CheckResult(verdict=Verdict.INVALID, summary="30 lost", counterexamples=members)
    html = page(run_of(history, results={"own": result}))
    before, after = html.split(f"<details><summary>{30 - EXPANDED} more</summary>")
    assert before.count('class="example"') == EXPANDED
    assert after.split("</details>")[0].count('class="example"') == 30 - EXPANDED


def test_a_history_inside_the_report_folder_is_linked_and_another_is_only_named(tmp_path: Path) -> None:
    inside, outside = tmp_path / "runs" / "a b.jsonl", tmp_path.parent / "elsewhere.jsonl"
    html = page(valid_run(history_path=inside), valid_run(history_path=outside), folder=tmp_path)
    assert '<a href="runs/a%20b.jsonl">runs/a b.jsonl</a>' in html
    assert f"<code>{outside}</code>" in html


def test_every_run_is_a_bar_with_its_worker_and_times() -> None:
    history, lost = kill_history(lose=True, seed=3)
    picture = timeline(picture_data(history), lost)
    bars = re.findall(
        r'<g class="bar ([a-z ]+)" data-task="(\d+)" role="img"><title>([^<]+)</title>', picture
    )
    assert len(bars) == sum(op.f == "run" and op.type == "invoke" for op in history)
    cut = {int(task) for classes, task, _ in bars if classes == "cut named"}
    assert cut == set(lost)
    assert re.search(
        r"task 48: cut off by fault 1\nin worker-4108, started at \d+ ms, lasted \d+ ms\nactivity a00048, attempt 1",
        picture,
    )


def test_more_runs_than_the_limit_become_density_with_a_note() -> None:
    data = picture_data(kill_history(lose=True, seed=3)[0])
    picture = timeline(data, max_bars=50)
    assert "More runs than can be drawn one by one" in picture
    assert len(re.findall(r'class="bar (?!cut)', picture)) == 0
    assert len(re.findall(r'class="bar cut', picture)) == 12
    assert 'class="cell"' in picture


def test_an_attribute_of_a_picture_cannot_end_early() -> None:
    assert element("g", aria_label='"><script>') == '<g aria-label="&#34;&gt;&lt;script&gt;"></g>'


def test_faults_have_their_names_where_there_is_room_and_numbers_where_there_is_not() -> None:
    few, many = (timeline(picture_data(kill_history(tasks=2000, kills=kills)[0])) for kills in (5, 30))
    assert ">1 kill-worker</text>" in few
    assert ">1 kill-worker</text>" not in many
    assert 'class="fault-name">1</text>' in many


def test_labels_of_many_faults_never_overlap() -> None:
    picture = timeline(picture_data(kill_history(tasks=2000, kills=30)[0]))
    boxes = re.findall(
        r'<rect x="([\d.]+)" y="(\d+)" width="([\d.]+)" height="14" rx="2" class="fault-tag">', picture
    )
    assert len(boxes) >= 20
    for row in {y for _, y, _ in boxes}:
        spans = sorted((float(x), float(x) + float(width)) for x, y, width in boxes if y == row)
        assert all(right < left for (_, right), (left, _) in pairwise(spans))
