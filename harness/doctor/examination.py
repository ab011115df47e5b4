"""Run the checks on an installation, within a budget of time, and apply the waivers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from harness.doctor.area import Area
from harness.doctor.begun_call import begun
from harness.doctor.check import Box, CheckFinding, DoctorCheck, Grade, failed, skipped, warned
from harness.doctor.installation import Installation
from harness.doctor.registry import CHECKS
from harness.doctor.unanswered import CannotTell, NoAnswer
from harness.doctor.waivers import Waiver
from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID
from harness.masking import one_line

SERVERS = ("postgres.answers", "redis.answers")
OVER = skipped("the time of this run is over")
_ORDER = (Grade.SKIP, Grade.PASS, Grade.WARN, Grade.FAIL)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExaminedCheck:
    """A check with its finding; `waiver` is the one that turned a FAIL or WARN into a PASS."""

    check: DoctorCheck
    finding: CheckFinding
    waiver: Waiver | None = None

    @property
    def remedy(self) -> str:
        """The remedy of the finding, else of the check."""
        return one_line(self.finding.remedy or self.check.remedy)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of the finding, else of the check, in one line each."""
        return tuple(map(one_line, self.finding.commands or self.check.commands))

    @property
    def needs_repair(self) -> bool:
        """Whether it is WARN or FAIL."""
        return self.finding.grade in (Grade.WARN, Grade.FAIL)


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorReport:
    """All results of a run. `silent` names the checks of servers that do not answer."""

    results: tuple[ExaminedCheck, ...]
    silent: tuple[str, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 a FAIL, 2 a server does not answer."""
        if self.silent:
            return EXIT_UNKNOWN
        return EXIT_INVALID if any(one.finding.grade is Grade.FAIL for one in self.results) else EXIT_VALID

    @property
    def boxes(self) -> Mapping[Box, Grade]:
        """The worst result of the checks of each box; SKIP only if all of them are."""
        return {
            box: max(
                (one.finding.grade for one in self.results if one.check.box is box),
                key=_ORDER.index,
                default=Grade.SKIP,
            )
            for box in Box
        }

    def counts(self) -> Mapping[Grade, int]:
        """How many checks have each grade."""
        return {grade: sum(one.finding.grade is grade for one in self.results) for grade in Grade}


def examine(
    site: Installation,
    waivers: Sequence[Waiver],
    *,
    today: date,
    checks: Sequence[DoctorCheck] = CHECKS,
) -> DoctorReport:
    """Run the checks one after the other; those that ask by HTTP wait for their answers meanwhile."""
    start, silent = time.monotonic(), list[str]()
    site.begin({one.area for one in checks})
    asked = {one: begun(partial(_result, one, site, silent)) for one in checks if one.area is Area.HTTP}

    def result(one: DoctorCheck) -> ExaminedCheck:
        if one not in asked:
            return _result(one, site, silent)
        try:
            return asked[one].result(timeout=max(0.0, site.seconds_left))
        except TimeoutError:
            return ExaminedCheck(check=one, finding=OVER)

    results = [waived(result(one), waivers, today) for one in checks]
    return DoctorReport(results=tuple(results), silent=tuple(silent), seconds=time.monotonic() - start)


def grades(report: DoctorReport) -> dict[str, Grade]:
    """The grade of each check by its id."""
    return {one.check.id: one.finding.grade for one in report.results}


def _result(one: DoctorCheck, site: Installation, silent: list[str]) -> ExaminedCheck:
    found = _finding(one, site, silent)
    return ExaminedCheck(check=one, finding=replace(found, seen=one_line(found.seen)))


def _finding(one: DoctorCheck, site: Installation, silent: list[str]) -> CheckFinding:
    if site.seconds_left <= 0:
        return OVER
    try:
        return one.probe(site)
    except CannotTell as reason:
        return skipped(str(reason))
    except NoAnswer as reason:
        name = f"{reason.server}.answers"
        silent += [name] if name not in silent else []
        return failed(str(reason)) if one.id == name else skipped(f"{reason.server} does not answer")
    except Exception as error:  # noqa: BLE001 - one answer that no check expects does not cost the others
        return warned(f"the check broke off ({type(error).__name__})", "Report this bug of the doctor.")


def waived(result: ExaminedCheck, waivers: Iterable[Waiver], today: date) -> ExaminedCheck:
    """The result with the waiver of its check: a PASS through its last day, a FAIL after it."""
    given = [one for one in waivers if one.id == result.check.id]
    waiver = max(given, key=lambda one: one.until, default=None)
    if waiver is None or not result.needs_repair or result.check.id in SERVERS:
        return result
    seen = result.finding.seen
    if waiver.until < today:
        text = f"{seen} (the waiver expired on {waiver.until}: {waiver.reason})"
        return replace(result, finding=replace(result.finding, grade=Grade.FAIL, seen=one_line(text)))
    text = f"{seen} (waived until {waiver.until}: {waiver.reason})"
    return replace(
        result, finding=replace(result.finding, grade=Grade.PASS, seen=one_line(text)), waiver=waiver
    )
