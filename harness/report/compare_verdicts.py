"""Comparison of two verdict.json: which scenario and which checker changed its verdict, and which figures moved.

A figure of one run has no spread, so its change is shown and not judged. A change to a worse verdict is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.checkers.base import Verdict
from harness.errors import UsageError
from harness.masking import one_line
from harness.report.compare import Change
from harness.report.compare_loads import as_scenarios
from harness.report.scales import number_text

_ORDER = [Verdict.VALID, Verdict.UNKNOWN, Verdict.INVALID]
"""From good to bad; NOT ASKED is neither better nor worse than any."""

_NAMED = 10
"""The most tasks that a line names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictChange:
    """A scenario (`checker` is None) or one of its checkers; None for a verdict that one of the files lacks."""

    scenario: str
    checker: str | None
    before: Verdict | None
    after: Verdict | None

    @property
    def change(self) -> Change | None:
        """Better, worse or the same; None if one side is missing or NOT ASKED."""
        if self.before is self.after:
            return Change.SAME
        if self.before not in _ORDER or self.after not in _ORDER:
            return None
        return Change.WORSE if _ORDER.index(self.after) > _ORDER.index(self.before) else Change.BETTER


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictComparison:
    """All scenarios and checkers of both files, and lines about figures and tasks that differ."""

    rows: tuple[VerdictChange, ...]
    details: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """A verdict became worse."""
        return any(row.change is Change.WORSE for row in self.rows)


def compare_verdicts(before: Mapping[str, Any], after: Mapping[str, Any]) -> VerdictComparison:
    """Compare two documents; raises `UsageError` if one of them is not what a run writes."""
    try:
        first, second = (_by_scenario(as_scenarios(one)) for one in (before, after))
        names = dict.fromkeys([*first, *second])
        rows = [row for name in names for row in _rows(name, first.get(name), second.get(name))]
        both = [name for name in first if name in second]
        details = [line for name in both for line in _details(name, first[name], second[name])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"A verdict.json lacks what a run writes ({error}); give two that the same command wrote."
        ) from None
    return VerdictComparison(rows=tuple(rows), details=tuple(details))


def verdicts_table(comparison: VerdictComparison) -> str:
    """The comparison as text: every scenario, the checkers that changed, and the figures that differ."""
    shown = [row for row in comparison.rows if row.checker is None or row.change is not Change.SAME]
    names = [one_line(row.scenario) if row.checker is None else f"  {one_line(row.checker)}" for row in shown]
    width = max(map(len, (*names, "scenario")))
    lines = [f"{'scenario':{width}}  {'before':9}  {'after':9}  change"]
    for name, row in zip(names, shown, strict=True):
        sides = (side.value if side is not None else "absent" for side in (row.before, row.after))
        lines.append(f"{name:{width}}  {'  '.join(f'{side:9}' for side in sides)}  {row.change or 'changed'}")
    return "\n".join([*lines, *(["", *map(one_line, comparison.details)] if comparison.details else [])])


def _by_scenario(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By name, and by number if a name occurs again, each scenario of a document."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in document["scenarios"]:
        number = sum(other["scenario"] == one["scenario"] for other in found.values())
        found[one["scenario"] if not number else f"{one['scenario']} ({number + 1})"] = one
    return found


def _rows(
    name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Iterator[VerdictChange]:
    yield VerdictChange(scenario=name, checker=None, before=_verdict(before), after=_verdict(after))
    if before is None or after is None:
        return
    first, second = before["checkers"], after["checkers"]
    for checker in dict.fromkeys([*first, *second]):
        sides = _verdict(first.get(checker)), _verdict(second.get(checker))
        yield VerdictChange(scenario=name, checker=checker, before=sides[0], after=sides[1])


def _verdict(found: Mapping[str, Any] | None) -> Verdict | None:
    return None if found is None else Verdict(found["verdict"])


def _details(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in ("target", "target_version", "backend", "seed"):
        if before.get(key) != after.get(key):
            yield f"{name}: {key.replace('_', ' ')} {before.get(key)} -> {after.get(key)}"
    for key, old in before["figures"].items():
        new = after["figures"].get(key)
        if old != new:
            yield f"{name}: {key.replace('_', ' ')} {_number(old)} -> {_number(new)}"
    first, second = _tasks(before), _tasks(after)
    for what, tasks in (("only in the second", second - first), ("only in the first", first - second)):
        if tasks:
            listed = ", ".join(map(str, sorted(tasks)[:_NAMED]))
            more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
            yield f"{name}: counterexamples {what}: task {listed}{more}"


def _tasks(scenario: Mapping[str, Any]) -> set[int]:
    return {
        member["task"]
        for checker in scenario["checkers"].values()
        for member in checker["counterexamples"]
        if type(member.get("task")) is int
    }


def _number(value: float | None) -> str:
    return "none" if value is None else number_text(value)
