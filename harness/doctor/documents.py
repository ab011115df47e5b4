"""The report as JSON, and the plan of repairs for a person."""

from __future__ import annotations

import json
from typing import Any

from harness.doctor.check import Grade
from harness.doctor.examination import DoctorReport, ExaminedCheck
from harness.doctor.text_output import summary
from harness.masking import masked_json, one_line

SCHEMA, VERSION = "agentexec-harness/doctor", 1


def json_report(report: DoctorReport, *, written_at: str) -> str:
    """The document; `VERSION` rises if a key changes its meaning."""
    document = {
        "schema": SCHEMA,
        "schema_version": VERSION,
        "written_at": written_at,
        "exit_code": report.exit_code,
        "summary": summary(report),
        "seconds": round(report.seconds, 3),
        "silent": list(report.silent),
        "boxes": {str(box): str(grade) for box, grade in report.boxes.items()},
        "checks": [_as_json(one) for one in report.results],
    }
    return json.dumps(masked_json(document), indent=2, ensure_ascii=False)


def fix_plan(report: DoctorReport, *, program: str, written_at: str) -> str:
    """A shell script in which every step is a comment: a person reads it, and takes out the `#` of what is right."""
    lines = [
        "#!/bin/sh",
        f"# Written by `{program} doctor` at {written_at}. It has run nothing, and does nothing as it is:",
        "# read each step, and remove the # before a command that you want to run.",
        "set -eu",
    ]
    wrong = sorted(
        (one for one in report.results if one.needs_repair), key=lambda one: one.finding.grade is Grade.WARN
    )
    for number, one in enumerate(wrong, 1):
        lines += ["", f"# {number}. {one.finding.grade} {one.check.id}: {one_line(one.finding.seen)}"]
        lines += [f"#    why: {one.check.why}", f"#    fix: {one.remedy}"]
        lines += [f"# {command}" for command in one.commands]
    return "\n".join([*lines, ""])


def _as_json(one: ExaminedCheck) -> dict[str, Any]:
    waiver = one.waiver
    return {
        "id": one.check.id,
        "area": str(one.check.area),
        "box": None if one.check.box is None else str(one.check.box),
        "result": str(one.finding.grade),
        "seen": one.finding.seen,
        "why": one.check.why,
        "scenario": one.check.scenario or None,
        "remedy": one.remedy,
        "commands": list(one.commands),
        "waiver": None if waiver is None else {"reason": waiver.reason, "until": waiver.until.isoformat()},
    }
