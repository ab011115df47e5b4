"""The report for programs: JSON, JUnit, Markdown; and the plan of repairs for a person."""

from __future__ import annotations

import json
from typing import Any
from xml.etree.ElementTree import SubElement

from harness.checkers.base import Verdict
from harness.doctor.check import Grade
from harness.doctor.examination import DoctorReport, ExaminedCheck
from harness.doctor.text_output import summary
from harness.masking import masked_json, one_line
from harness.report.junit import add_case, add_suite, document_text, new_document
from harness.report.markdown import plain_text
from harness.report.text import clean

SCHEMA, VERSION = "agentexec-harness/doctor", 1
_VERDICTS = {
    Grade.PASS: Verdict.VALID,
    Grade.WARN: Verdict.VALID,
    Grade.SKIP: Verdict.NOT_ASKED,
    Grade.FAIL: Verdict.INVALID,
}


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


def junit_report(report: DoctorReport, *, written_at: str) -> str:
    """A test suite for each area, a test case for each check. WARN passes, with a system-out."""
    root = new_document()
    areas = dict.fromkeys(one.check.area for one in report.results)
    for area in areas:
        results = [one for one in report.results if one.check.area is area]
        verdicts = [_VERDICTS[one.finding.grade] for one in results]
        suite = add_suite(root, f"doctor: {area}", verdicts, seconds=0.0, written_at=written_at)
        for one, verdict in zip(results, verdicts, strict=True):
            found = add_case(suite, "doctor", one.check.id, verdict, one.finding.seen)
            if one.finding.grade is Grade.WARN:
                SubElement(suite[-1], "system-out").text = clean(f"WARN {_lines(one)}")
            elif found is not None and one.needs_repair:
                found.text = clean(_lines(one))
    return document_text(root)


def markdown_report(report: DoctorReport) -> str:
    """A heading, the boxes, and a table of what is not right."""
    rows = [f"| {box} | {grade} |" for box, grade in report.boxes.items()]
    found = [
        f"| {one.finding.grade} | `{one.check.id}` | {plain_text(one.finding.seen)} | {plain_text(one.remedy)} |"
        for one in report.results
        if one.needs_repair
    ]
    return "\n".join(
        [
            f"## {plain_text(summary(report))}",
            "",
            "| box | result |",
            "|---|---|",
            *rows,
            *(["", "| result | check | seen | remedy |", "|---|---|---|---|", *found] if found else []),
        ]
    )


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


def _lines(one: ExaminedCheck) -> str:
    return "\n".join([one.finding.seen, f"why: {one.check.why}", f"fix: {one.remedy}", *one.commands])
