"""Exit codes, boxes, waivers, outputs: all on literal results."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.doctor import ci_documents, documents, text_output
from harness.doctor.area import Area
from harness.doctor.check import (
    Box,
    CheckFinding,
    DoctorCheck,
    Grade,
    failed,
    passed,
    skipped,
    warned,
    within,
)
from harness.doctor.durability_checks import of_fsyncs
from harness.doctor.examination import DoctorReport, ExaminedCheck, examine, waived
from harness.doctor.installation import DoctorOptions, Installation, is_local
from harness.doctor.postgres_checks import clocks_agree, of_version, unencrypted
from harness.doctor.redis_checks import of_persistence, of_replication, of_round_trip, of_server
from harness.doctor.redis_reader import without_login
from harness.doctor.waivers import Waiver, read_waivers
from harness.errors import UsageError

TODAY = date(2026, 5, 1)
NOW = "2026-05-01T10:00:00+00:00"


def result(
    finding: CheckFinding, name: str = "redis.tls", box: Box | None = Box.REDIS_PROTECTION
) -> ExaminedCheck:
    one = DoctorCheck(
        id=name,
        area=Area.REDIS,
        asks="Is it right?",
        why="Because | of this.",
        remedy="Do that.",
        probe=lambda _: finding,
        box=box,
        commands=("redis-cli PING",),
    )
    return ExaminedCheck(check=one, finding=finding)


def report(*findings: CheckFinding, silent: tuple[str, ...] = ()) -> DoctorReport:
    others = [result(skipped("-"), f"files.{box}", box) for box in Box]
    return DoctorReport(results=(*map(result, findings), *others), silent=silent, seconds=0.25)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report(passed("a"), warned("b"), skipped("c")), 0),
        (report(passed("a"), failed("b")), 1),
        (report(failed("b"), silent=("redis.answers",)), 2),
    ],
)
def test_only_a_fail_or_a_silent_server_changes_the_exit_code(found: DoctorReport, code: int) -> None:
    assert found.exit_code == code


@pytest.mark.parametrize(
    ("findings", "grade"),
    [
        ((skipped(""), skipped("")), Grade.SKIP),
        ((skipped(""), passed("")), Grade.PASS),
        ((passed(""), warned(""), skipped("")), Grade.WARN),
        ((warned(""), failed(""), passed("")), Grade.FAIL),
    ],
)
def test_a_box_is_as_bad_as_its_worst_check(findings: tuple[CheckFinding, ...], grade: Grade) -> None:
    assert report(*findings).boxes[Box.REDIS_PROTECTION] is grade
    assert len(report(*findings).boxes) == 15


@pytest.mark.parametrize(
    ("value", "grade"), [(1, Grade.PASS), (1.1, Grade.WARN), (2, Grade.WARN), (2.1, Grade.FAIL)]
)
def test_a_threshold_itself_still_passes(value: float, grade: Grade) -> None:
    assert within(value, warn=1, fail=2, seen="").grade is grade


WAIVER = Waiver(id="redis.tls", reason="until the move", until=TODAY)


@pytest.mark.parametrize("finding", [warned("plain"), failed("plain")])
def test_a_waiver_holds_through_its_last_day(finding: CheckFinding) -> None:
    found = waived(result(finding), [WAIVER], TODAY)
    assert (found.finding.grade, found.waiver) == (Grade.PASS, WAIVER)
    assert found.finding.seen == "plain (waived until 2026-05-01: until the move)"


def test_an_expired_waiver_is_a_fail_that_says_so() -> None:
    found = waived(result(warned("plain")), [WAIVER], date(2026, 5, 2))
    assert (found.finding.grade, found.waiver) == (Grade.FAIL, None)
    assert found.finding.seen == "plain (the waiver expired on 2026-05-01: until the move)"


@pytest.mark.parametrize("finding", [passed("x"), skipped("x")])
def test_a_waiver_changes_nothing_that_is_right_even_when_it_has_expired(finding: CheckFinding) -> None:
    assert waived(result(finding), [WAIVER], date(2027, 1, 1)).finding == finding


def test_of_two_waivers_the_one_that_ends_later_counts() -> None:
    expired = Waiver(id="redis.tls", reason="the old reason", until=date(2026, 1, 1))
    assert waived(result(failed("plain")), [expired, WAIVER], TODAY).waiver == WAIVER


def test_a_waiver_of_another_check_and_of_a_silent_server_changes_nothing() -> None:
    assert waived(result(failed("x"), "redis.password"), [WAIVER], TODAY).finding == failed("x")
    of_server = Waiver(id="redis.answers", reason="down", until=TODAY)
    assert waived(result(failed("x"), "redis.answers"), [of_server], TODAY).finding == failed("x")


def test_waivers_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text('[[waiver]]\nid = "redis.tls"\nreason = "until the move"\nuntil = 2026-05-01\n')
    assert read_waivers(path, {"redis.tls"}) == (WAIVER,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[waiver]]\nid = 'redis.none'\nreason = 'r'\nuntil = 2026-05-01", "no check"),
        ("[[waiver]]\nid = 'redis.tls'\nuntil = 2026-05-01", "incomplete"),
        ("[[waiver]]\nid = 'redis.tls'\nreason = ' '\nuntil = 2026-05-01", "incomplete"),
        ("[[waiver]]\nid = 'redis.tls'\nreason = 'r'\nuntil = 2026-05-01T10:00:00", "incomplete"),
        ("[[waiver]]\nid = 'redis.tls'\nreason = 'r'\nuntil = 'soon'", "incomplete"),
        ("[[waiver]]\nid = 'redis.tls'\nreason = 'r'\nuntil = 2026-05-01\nuntill = 1", "incomplete"),
        ("[waiver]\nid = 'redis.tls'", "tables"),
        ("waivers = []", "tables"),
        ("[[waiver", "cannot be read"),
    ],
)
def test_a_wrong_waiver_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_waivers(path, {"redis.tls"})


def test_a_run_whose_time_is_over_skips_the_rest() -> None:
    with Installation(DoctorOptions(environment={})) as site:
        site.deadline = 0.0
        found = examine(site, (), today=TODAY)
    assert {one.finding for one in found.results} == {skipped("the time of this run is over")}


def test_the_text_has_remedies_of_what_is_not_right_and_the_boxes() -> None:
    found = report(passed("good"), warned("odd"), failed("bad"))
    text = text_output.text_report(found, colour=False, everything=False)
    assert "PASS redis.tls" not in text
    assert "  WARN redis.tls: odd\n       fix: Do that.\n            redis-cli PING\n" in text
    assert "  FAIL redis.tls: bad\n       why: Because | of this.\n       fix: Do that.\n" in text
    assert text.count("SKIP ") >= 14
    assert text.endswith("doctor: repair what FAILs (1 PASS, 15 SKIP, 1 WARN, 1 FAIL in 0.2 s)")
    assert "\x1b" not in text
    assert "\x1b[1;31mFAIL\x1b[0m redis.tls" in text_output.text_report(found, colour=True, everything=True)
    assert "PASS redis.tls: good" in text_output.text_report(found, colour=False, everything=True)


def test_the_documents_say_the_same() -> None:
    found = report(passed("good"), warned("odd"), failed("bad <b>"))
    document = json.loads(documents.json_report(found, written_at=NOW))
    assert (document["schema"], document["schema_version"]) == ("agentexec-harness/doctor", 1)
    assert (document["exit_code"], document["boxes"]["redis-password-and-persistence"]) == (1, "FAIL")
    assert [one["result"] for one in document["checks"][:3]] == ["PASS", "WARN", "FAIL"]
    assert document["checks"][2]["commands"] == ["redis-cli PING"]
    root = ElementTree.fromstring(ci_documents.junit_report(found, written_at=NOW))
    assert (root.attrib["tests"], root.attrib["failures"]) == ("18", "1")
    assert [node.tag for case in root.iter("testcase") for node in case][:2] == ["system-out", "failure"]
    markdown = ci_documents.markdown_report(found)
    assert "| FAIL | `redis.tls` | bad &lt;b&gt; | Do that. |" in markdown
    assert markdown.count("\n| ") >= 16


def test_a_secret_that_a_server_repeats_is_masked_everywhere() -> None:
    url = "redis://u:hunter2@h/0"
    with Installation(DoctorOptions(environment={})) as site:
        one = DoctorCheck(
            id="redis.tls",
            area=Area.REDIS,
            asks="?",
            why=".",
            remedy=".",
            probe=lambda _: failed(f"at {url}\x1b[2J"),
        )
        found = examine(site, (), today=TODAY, checks=(one,)).results[0]
    assert found.finding.seen == "at redis://u:***@h/0�[2J"


@pytest.mark.parametrize(
    ("count", "milliseconds", "found"),
    [
        (99, 1.0, skipped("only 99 flushes are counted")),
        (100, 1000.0, passed("10.00 ms, the mean of 100")),
        (1000, 10_001.0, warned("10.00 ms, the mean of 1,000")),
    ],
)
def test_the_mean_time_of_a_flush(count: int, milliseconds: float, found: CheckFinding) -> None:
    assert of_fsyncs(count, milliseconds) == found


def test_a_plan_runs_nothing(tmp_path: Path) -> None:
    plan = tmp_path / "plan.sh"
    plan.write_text(
        documents.fix_plan(report(warned("odd"), failed("a\nrm -rf x")), program="agentexec", written_at=NOW)
    )
    lines = plan.read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["set -eu"]
    assert plan.read_text().index("FAIL redis.tls") < plan.read_text().index("WARN redis.tls")
    done = subprocess.run(["sh", plan], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("/run/postgresql", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("db", False),
    ],
)
def test_an_address_is_local_or_not(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(
    ("host", "grade"),
    [("127.0.0.1", Grade.WARN), ("", Grade.WARN), ("10.0.0.1", Grade.FAIL), ("db", Grade.FAIL)],
)
def test_clear_text_is_a_fail_unless_it_stays_on_the_machine(host: str, grade: Grade) -> None:
    assert unencrypted(host).grade is grade


@pytest.mark.parametrize(
    ("info", "grade", "seen"),
    [
        ({"aof_enabled": "1", "aof_last_write_status": "ok"}, Grade.PASS, "appendonly yes"),
        ({"aof_enabled": "1", "aof_last_write_status": "err"}, Grade.FAIL, "aof_last_write_status: err"),
        ({"aof_enabled": "0"}, Grade.FAIL, "appendonly no"),
        ({}, Grade.FAIL, "appendonly no"),
    ],
)
def test_an_append_only_file_that_cannot_be_written_is_found(
    info: dict[str, str], grade: Grade, seen: str
) -> None:
    assert (of_persistence(info).grade, of_persistence(info).seen) == (grade, seen)


@pytest.mark.parametrize(
    ("seconds", "grade"), [(0.0001, Grade.PASS), (0.01, Grade.PASS), (0.011, Grade.WARN)]
)
def test_a_slow_round_trip_is_found(seconds: float, grade: Grade) -> None:
    assert of_round_trip(seconds).grade is grade


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (180_006, passed("PostgreSQL 18.6")),
        (140_000, passed("PostgreSQL 14.0")),
        (130_022, failed("PostgreSQL 13.22")),
    ],
)
def test_a_postgres_that_is_too_old_is_found(number: int, finding: CheckFinding) -> None:
    assert of_version(number) == finding


@pytest.mark.parametrize(
    ("info", "finding"),
    [
        ({"redis_version": "7.0.15"}, passed("Redis 7.0.15")),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, passed("Valkey 9.1.2")),
        ({"redis_version": "6.2.14"}, failed("Redis 6.2.14")),
    ],
)
def test_a_redis_that_is_too_old_is_found(info: dict[str, str], finding: CheckFinding) -> None:
    assert of_server(info) == finding


@pytest.mark.parametrize(("offset", "grade"), [(-0.9, Grade.PASS), (-1.1, Grade.WARN), (16.0, Grade.FAIL)])
def test_a_clock_that_differs_is_found_in_both_directions(offset: float, grade: Grade) -> None:
    assert clocks_agree(offset).grade is grade


@pytest.mark.parametrize(
    ("info", "finding"),
    [
        ({"role": "master"}, passed("a primary with 0 replicas")),
        (
            {"role": "master", "slave0": "ip=h,lag=1", "slave1": "ip=h,lag=10,x=1"},
            passed("a primary with 2 replicas, at most 10 s behind"),
        ),
        (
            {"role": "master", "slave0": "ip=h,lag=11"},
            warned("a primary with 1 replicas, at most 11 s behind"),
        ),
        ({"role": "slave"}, failed("a replica")),
    ],
)
def test_a_replica_that_is_far_behind_is_found(info: dict[str, str], finding: CheckFinding) -> None:
    assert of_replication(info) == finding


def test_a_url_loses_its_login() -> None:
    assert (
        without_login("rediss://u:p@h:1/2?ssl_ca_certs=%2Fa&password=x") == "rediss://h:1/2?ssl_ca_certs=%2Fa"
    )
