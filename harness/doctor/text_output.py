"""The report for a terminal: a line for each check by area, remedies of what is not right, and the fifteen boxes."""

from __future__ import annotations

from collections.abc import Iterator

from harness.doctor.area import Area
from harness.doctor.check import Grade
from harness.doctor.examination import DoctorReport, ExaminedCheck

_COLOURS = {
    Grade.PASS: "\x1b[32m",
    Grade.WARN: "\x1b[33m",
    Grade.FAIL: "\x1b[1;31m",
    Grade.SKIP: "\x1b[90m",
}
_RESET = "\x1b[0m"
_BOXES_OF_LINE = 3


def text_report(report: DoctorReport, *, colour: bool, everything: bool) -> str:
    """The report; checks that pass or are skipped are counted in a line of their area, unless `everything` is set."""
    lines: list[str] = []
    for area in Area:
        results = [one for one in report.results if one.check.area is area]
        lines += [_heading(area, results), *_area(results, colour=colour, everything=everything)]
    return "\n".join([*lines, "", *_boxes(report, colour=colour), "", summary(report)])


def summary(report: DoctorReport) -> str:
    """One line: the counts, and what follows."""
    counts = ", ".join(f"{count} {grade}" for grade, count in report.counts().items() if count)
    if report.silent:
        conclusion = (
            f"cannot tell: {' and '.join(name.partition('.')[0] for name in report.silent)} does not answer"
        )
    else:
        conclusion = "repair what FAILs" if report.exit_code else "healthy"
    return f"doctor: {conclusion} ({counts} in {report.seconds:.1f} s)"


def _heading(area: Area, results: list[ExaminedCheck]) -> str:
    counts = [
        f"{sum(r.finding.grade is grade for r in results)} {grade}" for grade in (Grade.PASS, Grade.SKIP)
    ]
    return f"{area}: {', '.join(counts)}"


def _area(results: list[ExaminedCheck], *, colour: bool, everything: bool) -> Iterator[str]:
    for one in results:
        if not everything and not one.needs_repair:
            continue
        yield f"  {_painted(one.finding.grade, colour=colour)} {one.check.id}: {one.finding.seen}"
        if one.finding.grade is Grade.FAIL:
            shown = f" (scenario {one.check.scenario})" if one.check.scenario else ""
            yield f"       why: {one.check.why}{shown}"
        if one.needs_repair:
            yield f"       fix: {one.remedy}"
            yield from (f"            {command}" for command in one.commands)


def _boxes(report: DoctorReport, *, colour: bool) -> Iterator[str]:
    cells = [f"{_painted(grade, colour=colour)} {box:<31}" for box, grade in report.boxes.items()]
    yield "The boxes of the production guide:"
    for start in range(0, len(cells), _BOXES_OF_LINE):
        yield f"  {' '.join(cells[start : start + _BOXES_OF_LINE])}".rstrip()


def _painted(grade: Grade, *, colour: bool) -> str:
    return f"{_COLOURS[grade]}{grade}{_RESET}" if colour else str(grade)
