"""One mistake at a time on real servers: the doctor finds it by its id, finds nothing else, and sees the repair."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from agentexec.config import load_settings
from agentexec.ops.monitor import monitoring
from harness.cli import main
from harness.doctor.check import Box, Grade, failed, skipped
from harness.doctor.examination import DoctorReport, examine, grades
from harness.doctor.installation import DoctorOptions, Installation
from harness.doctor.postgres_reader import PostgresReader
from harness.doctor.redis_reader import RedisReader
from harness.doctor.registry import CHECKS
from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.environments.local_postgres import client_program
from harness.environments.ports import LOOPBACK, free_port
from tests.mistakes.clinic import GOOD, KEYS, PASSWORD, Clinic, opened_clinic
from tests.mistakes.finding import MEASURED, compared, found
from tests.mistakes.listed import ON_SERVERS
from tests.mistakes.mistake import FAIL, Mistake
from tests.mistakes.of_tasks import OLD

pytestmark = pytest.mark.integration

RESTORED = [one for one in CHECKS if one.id == "files.backup-restored"]
# What servers on loopback without an archive are.
AS_EMBEDDED = {"postgres.tls", "redis.tls", "postgres.archiving"}


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    with opened_clinic() as clinic:
        yield clinic


@pytest.fixture(scope="module")
def healthy(clinic: Clinic) -> DoctorReport:
    return clinic.report()


def test_a_good_installation_has_no_fail_and_only_the_known_warnings(healthy: DoctorReport) -> None:
    red = {one.check.id for one in healthy.results if one.needs_repair} - MEASURED
    assert (red, healthy.exit_code, healthy.silent) == (AS_EMBEDDED, 0, ())


@pytest.mark.parametrize("mistake", ON_SERVERS, ids=lambda one: f"{one.id}-{one.grade}")
def test_a_mistake_is_found_by_its_id_alone_and_gone_after_its_repair(
    clinic: Clinic, healthy: DoctorReport, mistake: Mistake
) -> None:
    assert found(clinic, healthy, mistake).complaints == ()


def test_every_repair_was_whole(clinic: Clinic, healthy: DoctorReport) -> None:
    assert compared(clinic.report()) == compared(healthy)


def test_a_running_task_with_a_lease_is_not_stuck(clinic: Clinic) -> None:
    task = str(uuid4())
    clinic.put(id=f"'{task}'", status="'running'", fence="7", updated_at=OLD)
    clinic.server.zadd(KEYS.lease, {task: 4e12})
    try:
        assert grades(clinic.report())["tasks.stuck-running"] is Grade.PASS
    finally:
        clinic.server.delete(KEYS.lease)
        clinic.sql("DELETE FROM agentexec_activity")


def test_a_role_that_may_only_select_is_enough(clinic: Clinic, healthy: DoctorReport) -> None:
    """The user of Redis may only send what reads in all these tests."""
    report = clinic.report(clinic.database_url.replace("doctor_app", "doctor_reader"))
    assert compared(report) == compared(healthy) | {"tables.rights": FAIL}


def test_what_a_managed_service_forbids_is_skipped_with_the_reason(
    clinic: Clinic, healthy: DoctorReport
) -> None:
    clinic.send("ACL", "SETUSER", "doctor", "-config|get", "-slowlog|get")
    try:
        report = clinic.report()
    finally:
        clinic.send("ACL", "SETUSER", "doctor", "+config|get", "+slowlog|get")
    changed = {
        one.check.id: one for one in report.results if one.finding.grade is not grades(healthy)[one.check.id]
    }
    assert changed.keys() - MEASURED == {
        "redis.protected-mode",
        "redis.appendfsync",
        "redis.idle-timeout",
        "redis.tcp-keepalive",
        "redis.slow-commands",
    }
    assert all(one.finding.grade is Grade.SKIP for one in changed.values())
    assert "NOPERM" in changed["redis.appendfsync"].finding.seen
    assert report.exit_code == 0


def test_neither_connection_can_write(clinic: Clinic) -> None:
    owner = clinic.owner.info.dsn + f" password={clinic.owner.info.password}"
    postgres, server = PostgresReader(owner, within=5), RedisReader(clinic.redis_url)
    with pytest.raises(CannotTell, match="read-only transaction"):
        postgres.rows("CREATE TABLE mine (id int)")
    with pytest.raises(ValueError, match="SET"):
        server.call("SET", "a", "b")
    with pytest.raises(ValueError, match="CONFIG"):
        server.call("CONFIG", "SET", "timeout", "1")
    postgres.close()
    server.close()


def test_a_server_that_goes_silent_ends_the_call(clinic: Clinic) -> None:
    reader = PostgresReader(clinic.database_url, within=0.05)
    with pytest.raises(NoAnswer):
        reader.rows("SELECT pg_sleep(0.9)")
    reader.close()


def test_the_time_of_a_flush_is_measured_where_the_server_counts_it(clinic: Clinic) -> None:
    check = [one for one in CHECKS if one.id == "postgres.fsync-time"]
    assert "track_wal_io_timing" in clinic.report(checks=check).results[0].finding.seen
    clinic.sql("ALTER SYSTEM SET track_wal_io_timing = on", "SELECT pg_reload_conf()")
    with clinic.owner.cursor() as cursor:
        for _ in range(120):
            cursor.execute("SELECT pg_logical_emit_message(true, 'doctor', 'x')")
    clinic.sql("SELECT pg_stat_force_next_flush()", "SELECT 1")
    found = clinic.report(checks=check).results[0].finding
    clinic.sql("ALTER SYSTEM RESET track_wal_io_timing", "SELECT pg_reload_conf()")
    assert (found.grade in (Grade.PASS, Grade.WARN), "ms, the mean of" in found.seen) == (True, True)


def test_a_backup_is_restored_into_the_scratch_database_and_checked(clinic: Clinic, tmp_path: Path) -> None:
    clinic.put()
    activity = "SELECT id FROM agentexec_activity"
    clinic.sql(
        f"INSERT INTO agentexec_activity_log (activity_id, fence, n, status, message, created_at)"
        f" VALUES (({activity}), 0, 0, 'queued', 'm', now())"
    )
    good, cut, bare, elsewhere = (tmp_path / name for name in ("good.gz", "cut.gz", "bare.sql", "with.sql"))
    dump = [str(client_program("pg_dump")), "--dbname", clinic.owner_of_postgres]
    text = subprocess.run(dump, capture_output=True, check=True).stdout
    custom = tmp_path / "good.dump"
    subprocess.run([*dump, "--format=custom", "--file", str(custom)], check=True)
    good.write_bytes(gzip.compress(text))
    cut.write_bytes(good.read_bytes()[:-200])
    bare.write_bytes(
        subprocess.run([*dump, "--exclude-table-data=*_log"], capture_output=True, check=True).stdout
    )
    elsewhere.write_bytes(b"\\connect postgres\n" + text)
    clinic.sql("TRUNCATE agentexec_activity, agentexec_activity_log")
    url = clinic.owner_of_postgres.replace("/postgres", "/scratch")

    def restored(file: Path, *, again: bool = True) -> tuple[Grade, str]:
        if again:
            clinic.sql("DROP DATABASE IF EXISTS scratch", "CREATE DATABASE scratch TEMPLATE template0")
        options = DoctorOptions(restore_check=file, scratch_url=url)
        with Installation(options) as site:
            [one] = examine(site, (), today=datetime.now(UTC).date(), checks=RESTORED).results
        return one.finding.grade, one.finding.seen

    assert restored(cut) == (FAIL, "the file is damaged or cut short")
    assert restored(elsewhere)[1].startswith("the dump leads psql elsewhere, so nothing was written")
    assert "1 of them without a log entry" in restored(bare)[1]
    assert restored(custom)[0] is Grade.PASS
    grade, seen = restored(good)
    assert (grade, seen.startswith("1 activities in")) == (Grade.PASS, True)
    assert restored(good, again=False) == (FAIL, "the scratch database has tables, so nothing was written")
    clinic.sql("DROP DATABASE scratch")


def test_another_encoding_and_a_database_without_tables_are_found(clinic: Clinic) -> None:
    clinic.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    report = clinic.report(clinic.database_url.replace("/postgres", "/ascii"))
    findings = {one.check.id: one.finding for one in report.results}
    assert findings["postgres.encoding"] == failed("SQL_ASCII")
    assert "there is no agentexec_activity;" in findings["tables.present"].seen
    fails = {name for name, one in findings.items() if one.grade is FAIL}
    assert fails == {"postgres.encoding", "tables.present", "tables.migrations"}
    assert findings["indexes.present"] == skipped("there are no tables (tables.present)")


def test_the_metrics_and_the_health_of_a_pool_are_as_the_doctor_expects(clinic: Clinic) -> None:
    settings = load_settings(
        database_url=clinic.database_url, redis_url=clinic.owner_of_redis, metrics_port=0
    )
    with monitoring(settings.model_copy(update={"num_workers": 2}), ready_workers=lambda: 2) as monitor:
        url = f"http://{LOOPBACK}:{monitor.port}"
        options = DoctorOptions(metrics_url=f"{url}/metrics", api_url=url)
        with Installation(options) as site:
            checks = [one for one in CHECKS if one.id.startswith("metrics.") or one.box is Box.HEALTH]
            answers = grades(examine(site, (), today=datetime.now(UTC).date(), checks=checks))
    names = ("metrics.names", "metrics.servers-up", "api.live", "api.ready")
    assert answers == dict.fromkeys(names, Grade.PASS) | {"files.probes": Grade.SKIP}


def test_no_answer_is_exit_code_2_and_the_other_server_is_still_checked(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = f"postgresql://doctor_app:{PASSWORD}@{LOOPBACK}:{free_port()}/postgres"
    assert main(["doctor", "--json", "--database-url", nowhere, "--redis-url", clinic.redis_url]) == 2
    printed = capsys.readouterr().out
    document = json.loads(printed)
    results = {one["id"]: one["result"] for one in document["checks"]}
    assert (document["exit_code"], document["silent"]) == (2, ["postgres.answers"])
    assert (results["postgres.answers"], results["tables.present"], results["redis.persistence"]) == (
        "FAIL",
        "SKIP",
        "PASS",
    )
    assert PASSWORD not in printed


def test_the_command_writes_every_output_without_a_secret(
    clinic: Clinic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["--database-url", clinic.database_url, "--redis-url", clinic.redis_url]
    files = ["--junit", str(tmp_path / "junit.xml"), "--fix-plan", str(tmp_path / "plan.sh")]
    for output in ("--all", "--json", "--markdown"):
        assert main(["doctor", output, *urls, *files]) == 0
    printed = capsys.readouterr().out + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "doctor: healthy" in printed
    for secret in (PASSWORD, clinic.login, *GOOD["AGENTEXEC_API_KEYS"].split(",")):
        assert secret not in printed


def test_a_file_that_cannot_be_written_is_wrong_usage(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["--database-url", clinic.database_url, "--redis-url", clinic.redis_url]
    assert main(["doctor", *urls, "--junit", "no-such-folder/junit.xml"]) == 64
    assert "no-such-folder/junit.xml cannot be written: No such file" in capsys.readouterr().err
