"""The rules, the scrape configuration and the dashboard of deploy/; `nox -s alerts` proves them on real servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.alerts import record
from tests.alerts.cases import CASES
from tests.alerts.dashboard import COLUMNS, document, panels
from tests.alerts.monitoring import PROGRAMS
from tests.alerts.picture import Curve, picture
from tests.alerts.rules import CONFIGURATION, FOLDER, RULES, TESTS, alerts, load, rules, seconds
from tests.alerts.scaling import FACTOR, dump, proof_configuration, scaled_rules
from tests.house.documents import anchors
from tests.house.sources import ROOT
from tests.support.servers import require_package

PAGE = record.PAGE.path
# What the exporters of Redis and Postgres and Prometheus itself add.
OTHER_METRICS = {
    "up", "ALERTS", "redis_up", "pg_up", "redis_memory_used_bytes", "redis_memory_max_bytes",
    "redis_total_system_memory_bytes", "redis_evicted_keys_total", "pg_stat_database_deadlocks",
}  # fmt: skip
METRIC = re.compile(r"\b(?:agentexec[_:]|redis_|pg_)\w[\w:]*|\b(?:up|ALERTS)\b(?=\{)")


def promtool(*arguments: str | Path) -> None:
    require_package("prometheus", installed=shutil.which("promtool") is not None)
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Those of all rules and of all panels."""
    found = [str(rule["expr"]) for rule in rules(load(RULES.read_text("utf-8")))]
    return found + [query.expression for panel in panels() for query in panel.queries]


def test_prometheus_accepts_the_configuration_with_its_rules() -> None:
    promtool("check", "config", CONFIGURATION)


def test_each_alert_fires_and_stays_silent_as_its_unit_test_says() -> None:
    promtool("test", "rules", TESTS)


def test_each_alert_has_a_unit_test() -> None:
    tested = set(re.findall(r'alertname="(\w+)"', TESTS.read_text("utf-8")))
    assert tested == {one.name for one in alerts()}


def test_each_alert_has_a_severity_and_tells_what_to_do_in_a_section_of_its_own() -> None:
    sections = anchors(PAGE.read_text("utf-8"))
    for one in alerts():
        assert one.severity in {"warning", "critical"}
        assert one.annotations.keys() == {"summary", "description", "runbook_url"}
        path, _, anchor = one.annotations["runbook_url"].partition("#")
        assert (ROOT / path, anchor) == (PAGE, one.name.lower())
        assert anchor in sections
    titles = re.findall(r"^## (Agentexec\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(titles) == sorted(one.name for one in alerts())


def test_each_section_says_what_an_alert_means_how_to_look_and_what_to_do() -> None:
    for section in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE):
        if section.startswith("Agentexec"):
            assert re.findall(r"^\*\*(\w+)\*\*:", section, re.MULTILINE) == ["Means", "Look", "Do"]


def test_rules_and_panels_name_only_metrics_that_there_are() -> None:
    production = (ROOT / "docs" / "production" / "observe.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(agentexec_\w+)", production, re.MULTILINE))
    histogram = {f"agentexec_task_duration_seconds_{part}" for part in ("sum", "count", "bucket")}
    recorded = {rule.get("record") for rule in rules(load(RULES.read_text("utf-8")))}
    named = {name for text in expressions() for name in METRIC.findall(text)}
    assert named <= documented | histogram | recorded | OTHER_METRICS
    assert len(named & documented) >= 10


def test_one_factor_divides_every_duration_of_the_rules_and_nothing_else() -> None:
    text = RULES.read_text("utf-8")
    assert load(scaled_rules(text, 1)) == load(
        text.replace("5m", "300000ms").replace("10m", "600000ms").replace("1m", "60000ms")
        .replace("rate300000ms", "rate5m").replace("mean600000ms", "mean10m").replace("increase600000ms", "increase10m")
    )  # fmt: skip
    changed = []
    for before, after in zip(rules(load(text)), rules(load(scaled_rules(text))), strict=True):
        assert {**before, "expr": "", "for": ""} == {**after, "expr": "", "for": ""}
        if "for" in before:
            assert seconds(before["for"]) == pytest.approx(FACTOR * seconds(after["for"]))
        changed += [
            pair
            for pair in zip(before["expr"].split(), after["expr"].split(), strict=True)
            if pair[0] != pair[1]
        ]
    assert ("300", "15") in changed
    assert ("60", "3") in changed
    assert {re.sub(r".*(\[.*\]).*", r"\1", old): re.sub(r".*(\[.*\]).*", r"\1", new) for old, new in changed} == {
        "[5m]": "[15000ms]", "[10m]": "[30000ms]", "300": "15", "60": "3",
    }  # fmt: skip


def test_the_proof_scrapes_the_jobs_of_the_configuration_with_their_labels() -> None:
    before, after = load(CONFIGURATION.read_text("utf-8")), load(proof_configuration("rules", "targets"))
    for old, new in zip(before["scrape_configs"], after["scrape_configs"], strict=True):
        discovery = {
            name for name in old.keys() | new.keys() if name.endswith(("sd_configs", "static_configs"))
        }
        assert {**old, **dict.fromkeys(discovery)} == {**new, **dict.fromkeys(discovery)}
    assert after["global"] == dict.fromkeys(before["global"], "1000ms")


def test_the_proof_has_one_cause_for_each_alert() -> None:
    proven = [name for case in CASES for name in case.alerts]
    assert sorted(proven) == sorted(one.name for one in alerts())
    assert {name for case in CASES for name in case.also} <= set(proven)


def test_the_rules_are_those_that_were_proven() -> None:
    assert record.record()["rules"] == record.digest(), "run `nox -s alerts`"


def test_every_panel_of_the_dashboard_has_a_place_a_source_and_queries() -> None:
    found = document()
    assert (found["uid"], found["title"]) == ("agentexec", "agentexec")
    assert [one["name"] for one in found["templating"]["list"]] == ["datasource", "queue"]
    assert len({one["id"] for one in found["panels"]}) == len(found["panels"]) >= 12
    for one in found["panels"]:
        assert one["type"] in {"stat", "timeseries"}
        assert one["title"]
        assert one["description"]
        assert {target["datasource"]["uid"] for target in one["targets"]} == {"${datasource}"}
        refs = [target["refId"] for target in one["targets"]]
        assert len(set(refs)) == len(refs) >= 1
    for panel in panels():
        assert 0 <= panel.x < panel.x + panel.width <= COLUMNS
    for one, other in combinations(panels(), 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        below = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert beside or below, f"{one.title} covers {other.title}"


def test_prometheus_parses_each_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [query.expression for panel in panels() for query in panel.queries]
    assert not any("$" in query for query in queries)
    recording = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(dump({"groups": [{"name": "panels", "rules": recording}]}), "utf-8")
    promtool("check", "rules", file)


def test_the_dashboard_shows_the_signal_of_each_alert_of_a_queue() -> None:
    shown = " ".join(query.expression for panel in panels() for query in panel.queries)
    signals = {
        "agentexec_queue_depth", "agentexec:error_ratio:rate5m", "agentexec:task_duration_seconds:mean10m",
        "agentexec:active_workers:sum", "agentexec:outbox_lag_seconds:max", "agentexec_stale_finishes_total",
        "agentexec_worker_deaths_total", "agentexec:dlq_depth:max", "agentexec:redis_memory:ratio",
        "redis_evicted_keys_total", "pg_stat_database_deadlocks", "ALERTS",
    }  # fmt: skip
    assert {name for name in signals if name not in shown} == set()


def test_the_picture_has_each_panel_and_breaks_a_line_where_samples_are_missing() -> None:
    chart = next(panel for panel in panels() if panel.kind == "timeseries")
    curve = Curve(name="<ready>", samples=[(0.0, 1.0), (1.0, 2.0), (9.0, float("nan")), (10.0, 3.0)])
    drawn = picture([(panel, [curve] if panel == chart else []) for panel in panels()], 0.0, 10.0, 1.0)
    assert all(f">{panel.title}</text>" in drawn for panel in panels())
    assert "&lt;ready&gt;" in drawn
    (line,) = re.findall(r'<path d="([^"]+)"', drawn)
    assert re.sub(r"[^ML]", "", line) == "MLM"


def test_the_page_and_the_session_name_what_has_to_be_installed() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in PROGRAMS if name not in text] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_no_file_has_a_password(path: Path) -> None:
    text = path.read_text("utf-8")
    assert YAML(typ="safe").load(text)
    assert not re.search(r"://[^\s/]*:[^\s/]*@|password\s*:", text, re.IGNORECASE)
