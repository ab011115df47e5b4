"""Make one mistake, see what the doctor finds, repair it, and look again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.doctor.check import Grade
from harness.doctor.examination import DoctorReport, ExaminedCheck, grades
from tests.mistakes.clinic import Clinic
from tests.mistakes.mistake import Mistake

# By the measure of this machine, which may be busy.
MEASURED = {"redis.latency", "postgres.fsync-time"}


@dataclass(frozen=True, kw_only=True)
class FoundMistake:
    """What the doctor said of one mistake, and each sentence that says what is wrong with that."""

    mistake: Mistake
    seen: str
    complaints: tuple[str, ...]


def found(clinic: Clinic, healthy: DoctorReport, mistake: Mistake) -> FoundMistake:
    """Make the mistake, repair it, and compare; the repair of the doctor's own remedy where it has no other."""
    mistake.make(clinic)
    try:
        report = clinic.report()
        one = next(one for one in report.results if one.check.id == mistake.id)
    finally:
        if mistake.repair is not None:
            mistake.repair(clinic)
    if mistake.repair is None:
        for command in one.commands:
            clinic.run(command)
    after = grades(clinic.report(checks=[one.check]))[mistake.id]
    complaints = [*_of_report(report, healthy, mistake, one), *_of_repair(after, healthy, mistake)]
    return FoundMistake(mistake=mistake, seen=one.finding.seen, complaints=tuple(complaints))


def compared(report: DoctorReport) -> dict[str, Grade]:
    """The grades without those of measurements."""
    return {name: grade for name, grade in grades(report).items() if name not in MEASURED}


def turned_red(report: DoctorReport, healthy: DoctorReport) -> dict[str, Grade]:
    """The WARN and FAIL that a healthy installation does not have; a mistake may hide other questions (SKIP)."""
    before, red = compared(healthy), (Grade.WARN, Grade.FAIL)
    return {
        name: grade for name, grade in compared(report).items() if grade in red and grade is not before[name]
    }


def _of_report(
    report: DoctorReport, healthy: DoctorReport, mistake: Mistake, one: ExaminedCheck
) -> Iterator[str]:
    red = turned_red(report, healthy)
    if red != {mistake.id: mistake.grade}:
        listed = ", ".join(f"{name} {grade}" for name, grade in red.items())
        yield f"red is {listed or 'nothing'}, and only {mistake.id} {mistake.grade} should be"
    if mistake.says not in one.finding.seen:
        yield f"it says {one.finding.seen!r}, without {mistake.says!r}"
    if report.exit_code != int(mistake.grade is Grade.FAIL):
        yield f"the exit code is {report.exit_code}"


def _of_repair(after: Grade, healthy: DoctorReport, mistake: Mistake) -> Iterator[str]:
    if after is not grades(healthy)[mistake.id]:
        yield f"after the repair it is {after}"
