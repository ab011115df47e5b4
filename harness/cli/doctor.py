"""`harness doctor`, which is also `agentexec doctor`: check an installation of agentexec, read-only."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.command_line import filled_path, positive
from harness.errors import UsageError
from harness.progress import is_animated
from harness.targets.reference import require_reference

if TYPE_CHECKING:
    from harness.doctor.examination import DoctorReport


def add_doctor(parser: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("--database-url", metavar="URL", help="Postgres (default: DATABASE_URL)")
    parser.add_argument("--redis-url", metavar="URL", help="Redis (default: REDIS_URL)")
    parser.add_argument("--api-url", metavar="URL", help="the HTTP API, for example http://127.0.0.1:8000")
    parser.add_argument("--metrics-url", metavar="URL", help="the metrics of a pool, with /metrics")
    _path(parser, "--deployment", "DIR", "folder of manifests: Kubernetes, Compose, systemd, alert rules")
    _path(parser, "--backups", "DIR", "folder of backups")
    _path(parser, "--load-report", "DIR", "folder of the report of a load test")
    _path(parser, "--log", "FILE", "log of a pool, of which the last lines are read")
    _path(parser, "--restore-check", "FILE", "backup to restore into --scratch-url; nothing else ever writes")
    parser.add_argument("--scratch-url", metavar="URL", help="empty Postgres database for --restore-check")
    parser.add_argument(
        "--rate-limit-check",
        action="store_true",
        help="use up the rate limit of the last key of AGENTEXEC_API_KEYS at --api-url, to see it refused",
    )
    _count(parser, "--load-report-days", 30, "oldest load test that counts")
    _count(parser, "--retention-days", 30, "age after which ended tasks should be gone")
    _count(parser, "--pools", 2, "pools of the installation")
    _count(parser, "--api-servers", 2, "API servers of the installation")
    _path(parser, "--waivers", "FILE", "TOML file of accepted findings with reason and last day")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--all", action="store_true", help="print the checks that pass or are skipped too")
    output.add_argument("--json", action="store_true", help="print one JSON document")
    output.add_argument("--markdown", action="store_true", help="print Markdown, for the summary of a CI job")
    _path(parser, "--junit", "FILE", "write junit.xml there")
    _path(parser, "--fix-plan", "FILE", "write the repairs there, as a script to read; nothing is run")
    parser.set_defaults(run=run_doctor)


def run_doctor(options: Namespace) -> int:
    """Check the installation and print the report.

    Returns 0 without a FAIL, 1 with one, 2 if Postgres or Redis does not answer.
    """
    require_reference("The doctor")
    # Imported here, because they import the reference, and those of the output where one is written.
    from harness.doctor.documents import fix_plan, json_report
    from harness.doctor.text_output import text_report

    report = _report(options)
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    if options.junit is not None:
        from harness.doctor.ci_documents import junit_report

        _write(options.junit, junit_report(report, written_at=written_at))
    if options.fix_plan is not None:
        _write(options.fix_plan, fix_plan(report, program=options.program, written_at=written_at))
    if options.json:
        print(json_report(report, written_at=written_at))
    elif options.markdown:
        from harness.doctor.ci_documents import markdown_report

        print(markdown_report(report))
    else:
        print(text_report(report, colour=is_animated(sys.stdout), everything=options.all))
    return report.exit_code


def _report(options: Namespace) -> DoctorReport:
    from harness.doctor.examination import examine
    from harness.doctor.installation import DoctorOptions, Installation
    from harness.doctor.registry import CHECKS
    from harness.doctor.waivers import read_waivers

    if (options.restore_check is None) != (options.scratch_url is None):
        raise UsageError("--restore-check FILE and --scratch-url URL belong together. Give both, or none.")
    known = {one.id for one in CHECKS}
    waivers = () if options.waivers is None else read_waivers(options.waivers, known)
    given = DoctorOptions(
        database_url=options.database_url,
        redis_url=options.redis_url,
        api_url=options.api_url,
        metrics_url=options.metrics_url,
        deployment=options.deployment,
        backups=options.backups,
        load_report=options.load_report,
        log=options.log,
        restore_check=options.restore_check,
        scratch_url=options.scratch_url,
        rate_limit_check=options.rate_limit_check,
        load_report_days=options.load_report_days,
        retention_days=options.retention_days,
        pools=options.pools,
        api_servers=options.api_servers,
    )
    with Installation(given) as site:
        return examine(site, waivers, today=datetime.now(UTC).date())


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name a file in a folder that exists."
        ) from None


def _path(parser: ArgumentParser, name: str, kind: str, text: str) -> None:
    parser.add_argument(name, type=filled_path, metavar=kind, help=text)


def _count(parser: ArgumentParser, name: str, default: int, text: str) -> None:
    parser.add_argument(
        name, type=positive, default=default, metavar="N", help=f"{text} (default %(default)s)"
    )
