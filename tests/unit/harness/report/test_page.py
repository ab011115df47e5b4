"""report.html: everything is in it, nothing is fetched, and no string of a history becomes markup."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.history.promises import Quote
from harness.report.page import EXPANDED, MOST, report_html
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
    lost_results,
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


def test_what_is_special_about_the_load_of_a_run_is_said_at_its_top() -> None:
    history, _ = kill_history(tasks=5, kills=1)
    text = Page(page(run_of(history, results={}, notes=("5 instead of 20 tasks a second arrive",)))).text
    assert "Note: 5 instead of 20 tasks a second arrive." in text


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


def mixed() -> ScenarioRun:
    run = invalid_run()
    checkers = {
        "fencing": CheckResult(verdict=Verdict.NOT_ASKED, summary="no fences are promised"),
        **{name: result for name, result in run.results.items() if name != "delivery"},
        "exits": CheckResult(verdict=Verdict.UNKNOWN, summary="no pool ended"),
        "delivery": replace(
            run.results["delivery"],
            promise=Quote(sentence="Tasks <survive>.", address="https://example.org/a?b=1&c"),
        ),
    }
    return replace(run, results=checkers)


def test_scenarios_and_checkers_that_need_attention_come_first_and_open() -> None:
    html = page(valid_run(scenario="green"), unknown_run(), mixed())
    names = re.findall(r'<h2 id="scenario-\d-name">([\w-]+)', html)
    assert names == ["kill-worker-mid-task", "sigterm-drain", "green"]
    assert re.findall(r'<details class="fold"( open)?>', html) == [" open", " open", ""]
    first = html.split('<article class="scenario')[1]
    order = re.findall(r'<section class="checker ([a-z-]+)" id="[^"]+" aria-label="(\w+)"', first)
    assert order == [
        ("invalid", "delivery"),
        ("unknown", "exits"),
        ("valid", "transitions"),
        ("valid", "recovery"),
        ("not-asked", "fencing"),
    ]
    folded = re.findall(r'<details class="quiet ([a-z-]+)"><summary>.*?</summary>', first)
    assert folded == ["valid", "not-asked"]
    assert first.index('"quiet valid"') > first.index('aria-label="exits"')
    assert first.index('aria-label="fencing"') > first.index('"quiet not-asked"')


def test_the_bar_has_the_verdict_and_the_counts() -> None:
    bar = page(valid_run(), mixed(), valid_run()).split('<nav class="stay invalid"')[1].split("</nav>")[0]
    assert re.findall(r">(\d+ [A-Z]+)</a>", bar) == ["1 INVALID", "2 VALID"]


def test_a_broken_promise_is_quoted_with_its_address() -> None:
    html = page(mixed())
    assert "promised: <q>Tasks &lt;survive&gt;.</q>" in html
    assert 'href="https://example.org/a?b=1&amp;c"' in html


def test_only_a_web_address_of_a_promise_becomes_a_link() -> None:
    bad = CheckResult(
        verdict=Verdict.INVALID, summary="x", promise=Quote(sentence="y", address="javascript:alert(1)")
    )
    assert 'href="javascript' not in page(valid_run(results={"own": bad}))


def test_a_task_that_two_checkers_name_is_described_once_with_links_from_both() -> None:
    run = invalid_run()
    again = replace(run.results["delivery"], summary="contradictions")
    html = page(replace(run, results={**run.results, "witnesses": again}))
    assert html.count("killed the worker at") == 12
    assert html.count('href="#scenario-1-task-48"') == 2
    assert html.count('id="scenario-1-task-48"') == 1
    story = html.split('id="scenario-1-task-48"')[1].split("</li>")[0]
    assert re.findall(r'href="#(scenario-1-\d)">(\w+)</a>', story) == [
        ("scenario-1-1", "delivery"),
        ("scenario-1-4", "witnesses"),
    ]


def test_the_page_of_a_run_in_which_everything_is_lost_stays_small() -> None:
    history = kill_history(tasks=2_000, kills=1)[0]
    html = page(run_of(history, results=lost_results(range(1, 2_001))))
    assert html.count('class="story"') == MOST
    assert f"{2_000 - MOST:,} more are in verdict.json" in html


def test_every_fragment_leads_to_an_element(all_three: str) -> None:
    found = Page(all_three).tags
    ids = {attrs["id"] for _, attrs in found if "id" in attrs}
    links = {attrs.get("href") or "" for tag, attrs in found if tag == "a"}
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= ids
