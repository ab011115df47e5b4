"""The pytest plugin in processes of its own, with real servers and pools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as XML

import pytest

from harness.processes import is_alive
from tests.conftest import Eventually
from tests.integration.environments.conftest import Traces

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
RUNS = """
import json
import os
from dataclasses import replace
from types import SimpleNamespace
import pytest
from chaos import SCENARIOS
from harness.checkers.base import CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.faults_injected import faults_injected

class Unjudged:
    # Without the checkers of the workload: they judge the machine too, which may be busy with other tests.
    def __init__(self, workload): self._workload = workload
    def __getattr__(self, name): return getattr(self._workload, name)
    def checkers(self): return {}

def lost(history):
    examples = explain(history, [Counterexample(kind="lost", task=7, why="it is only said to be")])
    other = {"kind": "stuck", "task": 3}
    return CheckResult(verdict=Verdict.INVALID, summary="one is lost", figures={"lost": 1, "duplicated": 0},
                       counterexamples=(other, *examples))

FLUSH = SCENARIOS["flush-redis"]
CALM = replace(FLUSH, workload=Unjudged(FLUSH.workload), checkers={"faults": faults_injected(3)})
LOSSY = replace(CALM, name="lossy", checkers={"delivery": lost})

def refuse(*_): raise RuntimeError("it does not open")
CLOSED = SimpleNamespace(name="closed", version=lambda: "1", open=refuse)

USED = "ALL rate > 99%, wal_bytes_per_task > 500, log_errors < 1000"

@pytest.mark.chaos(CALM, kills=1, seed=3, load="hold(20, '2s')", load_lateness=60, thresholds=USED)
def test_valid(chaos):
    (run,) = chaos.runs
    assert (run.seed, run.target) == (3, "agentexec")
    assert run.results["faults"].figures["faults"] == 1
    assert "arrivals in 2 s: hold 20/s for 2s" in run.notes[-1]
    assert run.results["load"].figures["acknowledged"] == run.results["load"].figures["due"] > 10
    folder = run.history_path.parents[1] / "load" / run.scenario
    assert (folder / "report.html").exists()
    used = {one["name"]: one["max"] for one in json.loads((folder / "verdict.json").read_text())["resources"]}
    assert used["slots in use"] is not None and used["queue depth"] is not None and used["workers"] == 2

@pytest.mark.chaos(LOSSY, kills=1, tasks=40)
def test_lossy():
    raise RuntimeError("the body runs")

@pytest.mark.chaos("kill-pool", tasks=40, app=CLOSED, unknown="skip")
def test_skipped(): pass

class TestOfClass:
    @pytest.mark.chaos("kill-pool", tasks=40, target=CLOSED)
    def test_unknown(self): pass

def test_called(chaos, harness_servers):
    assert harness_servers.redis_url.startswith("redis://")
    assert harness_servers.database_url.startswith("postgresql://")
    with pytest.raises(pytest.fail.Exception, match="it does not open"):
        chaos("kill-pool", tasks=40, target=CLOSED)
    assert chaos.runs == []

@pytest.fixture(autouse=True)
def noted(harness_servers):
    line = json.dumps([os.getpid(), harness_servers.redis_url, os.environ["HARNESS_SESSION"]])
    with open(os.environ["NOTES"], "a") as notes:
        print(line, file=notes)
"""


def run_pytest(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source)
    return subprocess.run(
        command(*options), cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )


def command(*options: str) -> list[str]:
    named = (
        "-p",
        "harness.pytest_plugin",
        "-p",
        "xdist.plugin",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
    )
    return [sys.executable, "-m", "pytest", *named, "-W", "error", *options, "test_it.py"]


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        # The plugin is named, because the environment of the tests may not have its entry point yet.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "NOTES": str(folder / "notes"),
    }


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, XML.Element], list[list[str]]]:
    """The folder of one run in two processes, its JUnit test cases by name, and what each process noted."""
    folder = tmp_path_factory.mktemp("plugin")
    done = run_pytest(folder, RUNS, "-n", "2", "--junitxml=junit.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    cases = {case.attrib["name"]: case for case in XML.parse(folder / "junit.xml").iter("testcase")}
    notes = [json.loads(line) for line in (folder / "notes").read_text().splitlines()]
    return folder, cases, notes


Outcomes = tuple[Path, dict[str, XML.Element], list[list[str]]]


def text_of(case: XML.Element, kind: str) -> str:
    found = case.find(kind)
    assert found is not None, XML.tostring(case, "unicode")
    return f"{found.attrib.get('message', '')}\n{found.text}"


def test_a_valid_scenario_passes_and_the_body_has_its_run(outcomes: Outcomes) -> None:
    _, cases, _ = outcomes
    for name in ("test_valid", "test_called"):
        assert all(cases[name].find(kind) is None for kind in ("failure", "error", "skipped")), XML.tostring(
            cases[name], "unicode"
        )


def test_an_invalid_verdict_fails_with_the_story_of_the_first_lost_task(outcomes: Outcomes) -> None:
    folder, cases, _ = outcomes
    text = text_of(cases["test_lossy"], "failure")
    assert re.search(r"lossy is INVALID for agentexec .*\(seed \d+\)\ndelivery: one is lost\n", text)
    story = r"task 7 \([0-9a-f-]{36}\), lost: it is only said to be\n  acknowledged at .+\n  started by .+\n"
    assert re.search(story, text)
    assert "the body runs" not in text
    assert re.search(r"repeat:  pytest test_it.py::test_lossy --chaos-seed=\d+", text)
    report = re.search(r"report:  (\S+)", text)
    assert report is not None
    assert Path(report[1]).is_relative_to(folder / "reports")
    assert "INVALID" in Path(report[1]).read_text()


def test_an_unknown_verdict_fails_with_its_reason_unless_it_is_skipped(outcomes: Outcomes) -> None:
    _, cases, _ = outcomes
    for name, kind in (("test_unknown", "failure"), ("test_skipped", "skipped")):
        text = text_of(cases[name], kind)
        assert "kill-pool is UNKNOWN for closed 1" in text
        assert "it does not open" in text


def test_the_processes_of_xdist_share_a_folder_and_have_one_pair_of_servers_each(outcomes: Outcomes) -> None:
    folder, _, notes = outcomes
    assert len({*folder.glob("reports/*")}) == 1
    assert len({process for process, _, _ in notes}) == len({tuple(note) for note in notes}) == 2
    assert len({url for _, url, _ in notes}) == 2
    for _, _, session in notes:
        assert Traces(session=session, folder=Path("/nowhere")).processes() == []


WRONG = """
import pytest

@pytest.mark.chaos("kill-pol")
def test_name(): pass
@pytest.mark.chaos("kill-pool", kill=5)
def test_argument(): pass
@pytest.mark.chaos
def test_nothing(): pass
@pytest.mark.chaos("kill-pool", target="agentexec", app="json:dumps")
def test_both(): pass
@pytest.mark.chaos("kill-pool", app="json:dumps")
def test_app(): pass
@pytest.mark.chaos("kill-pool", tasks=100_000, timeout=30)
def test_time(): pass
@pytest.mark.chaos("kill-pool", app=object())
def test_value(): pass
@pytest.mark.chaos("kill-pool", unknown="pass")
def test_unknown(): pass
@pytest.mark.chaos("rolling-deploy", kills=3)
def test_versions(): pass
@pytest.mark.chaos("kill-worker-mid-task", tasks=3)
def test_few(): pass
@pytest.mark.chaos("kill-pool", rate=float("nan"))
def test_rate(): pass
@pytest.mark.chaos("kill-pool", thresholds="TASK p95 < 2s")
def test_judges(): pass
@pytest.mark.chaos("kill-pool", load="hold(20, '10s')", tasks=40)
def test_arrivals(): pass
@pytest.mark.chaos("kill-pool", load=20)
def test_stages(): pass
@pytest.mark.chaos("kill-pool", load="hold(20, '10s')", thresholds={"TASK": 2})
def test_thresholds(): pass
@pytest.mark.chaos("kill-pool", load="hold(20, '10s')", thresholds="TASK refund p95 < 2s")
def test_row(): pass
@pytest.mark.chaos("kill-pool", load="hold(20, '10s')", load_lateness=0)
def test_lateness(): pass
@pytest.mark.chaos("kill-pool", patience=0)
def test_patience(): pass
@pytest.mark.chaos("kill-pool", tasks="20")
def test_text(): pass
@pytest.mark.chaos("kill-pool", seed=1.5)
def test_seed(): pass
"""


def test_each_mistake_is_one_sentence_at_its_test(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, WRONG, "-ra", "--tb=short", "-q")
    assert done.returncode == 1
    sections = dict(
        re.findall(r"^_+ (test_\w+) _+\n((?:(?!_{4,}|={4,}|-{4,}).*\n)+)", done.stdout, re.MULTILINE)
    )
    for name, sentence in {
        "name": "There is no scenario 'kill-pol'. Did you mean kill-pool?",
        "argument": "chaos has no argument 'kill'. Give some of kills, tasks, ",
        "nothing": "The marker chaos takes one scenario. Write for example @pytest.mark.chaos('kill-pool').",
        "both": "target= and app= both name what is tested. Give one.",
        "app": "json:dumps is not an application of harness.testing but a function.",
        "time": "kill-pool takes at least ",
        "value": "object is not a target: it has no name, version, open.",
        "unknown": "unknown='pass' has no meaning. Write 'fail' or 'skip'.",
        "versions": "rolling-deploy deploys another version with each of its 4 faults.",
        "few": "3 tasks are too few for the 8 faults of this scenario.",
        "rate": "rate=nan is no number above 0.",
        "judges": "thresholds= judges a load. Give one with load=, or leave it out.",
        "arrivals": "load= decides when tasks arrive and how many. Leave tasks= out.",
        "stages": "A load cannot have a stage 20; make stages with hold, ramp, ",
        "thresholds": "thresholds must map a row to its thresholds; write {",
        "row": "There is no row 'TASK refund'; choose one of: ",
        "lateness": "load_lateness=0 is no number above 0.",
        "patience": "patience=0 is no number above 0.",
        "text": "tasks='20' is no whole number above 0.",
        "seed": "seed=1.5 is no whole number.",
    }.items():
        assert sections[f"test_{name}"].startswith(sentence), done.stdout
        assert sections[f"test_{name}"].count("\n") == 1


HANGING = """
import json, os, time

def test_it_hangs(chaos, harness_servers):
    from harness.environments.session import _open_sessions
    (session,) = _open_sessions
    with open(os.environ["NOTES"] + ".new", "w") as notes:
        json.dump([session.id, str(session.folder)], notes)
    os.rename(os.environ["NOTES"] + ".new", os.environ["NOTES"])
    time.sleep(600)
"""


def test_a_killed_pytest_leaves_nothing(tmp_path: Path, eventually: Eventually) -> None:
    (tmp_path / "test_it.py").write_text(HANGING)
    process = subprocess.Popen(
        command("-s"), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL
    )
    try:
        eventually((notes := tmp_path / "notes").exists, deadline=120)
        session, folder = json.loads(notes.read_text())
        traces = Traces(session=session, folder=Path(folder))
        assert len(traces.processes()) >= 2
    finally:
        process.kill()
        process.wait()
    assert not is_alive(process.pid)
    eventually(lambda: not traces.left(), deadline=60)


def test_the_marker_is_described_and_nothing_is_imported_before_a_test_needs_it(tmp_path: Path) -> None:
    source = """
import sys

def test_light():
    assert "harness.pytest_plugin" in sys.modules
    heavy = ("psycopg", "redis", "sqlalchemy", "jinja2", "agentexec", "harness.run.runner", "harness.environments")
    assert [name for name in heavy if name in sys.modules] == []
"""
    done = run_pytest(tmp_path, source, "-q")
    assert done.returncode == 0, done.stdout
    described = run_pytest(tmp_path, source, "--markers")
    assert "@pytest.mark.chaos(scenario, *, kills=None, tasks=None, load=None" in described.stdout
    assert not (tmp_path / "reports").exists()
