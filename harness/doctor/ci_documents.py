"""The report for a CI server: JUnit, and Markdown for a summary. Apart from the others: its imports take a while."""

from __future__ import annotations

from xml.etree.ElementTree import SubElement

from harness.checkers.base import Verdict
from harness.doctor.check import Grade
from harness.doctor.examination import DoctorReport, ExaminedCheck
from harness.doctor.text_output import summary
from harness.report.junit import add_case, add_suite, document_text, new_document
from harness.report.markdown import plain_text
from harness.report.text import clean

_VERDICTS = {
    Grade.PASS: Verdict.VALID,
    Grade.WARN: Verdict.VALID,
    Grade.SKIP: Verdict.NOT_ASKED,
    Grade.FAIL: Verdict.INVALID,
}


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


def _lines(one: ExaminedCheck) -> str:
    return "\n".join([one.finding.seen, f"why: {one.check.why}", f"fix: {one.remedy}", *one.commands])
