"""junit.xml: a test suite per scenario, a test case per checker, for any CI to show which guarantee broke.

INVALID is a failure; UNKNOWN is an error, and so is a run that broke down. The first test case of a suite that names a
task says what happened to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from harness.checkers.base import CheckResult, Verdict
from harness.masking import masked_json
from harness.report.headline import verdict_text
from harness.report.picture_data import data_of
from harness.report.stories import Story, stories
from harness.report.text import clean
from harness.scenario import ScenarioRun

RUN = "run"  # the test case of a run that broke down, or had no checker


def junit_xml(runs: Sequence[ScenarioRun], *, written_at: str) -> str:
    """The document. The time of a scenario is that of its test suite; the test cases have no times of their own."""
    root = new_document()
    for run in runs:
        _suite(root, run, written_at)
    return document_text(root)


def new_document() -> Element:
    """The root of a document without test suites."""
    return Element("testsuites", name="agentexec-harness")


def document_text(root: Element) -> str:
    """The document as text, with the sums over its test suites."""
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in root)))
    root.set("time", f"{sum(float(suite.attrib['time']) for suite in root):.3f}")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def add_suite(
    root: Element, name: str, verdicts: Sequence[Verdict], *, seconds: float, written_at: str
) -> Element:
    """A test suite with the counts of the verdicts of its test cases, which the caller adds."""
    return SubElement(
        root,
        "testsuite",
        name=clean(name),
        tests=str(len(verdicts)),
        failures=str(verdicts.count(Verdict.INVALID)),
        errors=str(verdicts.count(Verdict.UNKNOWN)),
        skipped=str(verdicts.count(Verdict.NOT_ASKED)),
        time=f"{seconds:.3f}",
        timestamp=written_at,
    )


def add_properties(suite: Element, facts: Mapping[str, str]) -> None:
    """The facts of a test suite."""
    properties = SubElement(suite, "properties")
    for name, value in facts.items():
        SubElement(properties, "property", name=clean(name), value=clean(value))


def add_case(suite: Element, group: str, name: str, verdict: Verdict, message: str) -> Element | None:
    """A test case; returns the element that takes the text of a failure or an error, None for VALID."""
    case = SubElement(suite, "testcase", classname=clean(group), name=clean(name), time="0")
    if verdict is Verdict.VALID:
        return None
    kind = {Verdict.INVALID: "failure", Verdict.NOT_ASKED: "skipped"}.get(verdict, "error")
    found = SubElement(case, kind, message=clean(message))
    if verdict is not Verdict.NOT_ASKED:
        found.set("type", verdict.value)
    return found


def _suite(root: Element, run: ScenarioRun, written_at: str) -> None:
    cases = list(run.results.items())
    if run.error is not None or not cases:
        why = run.error or "no checker was run"
        cases.append((RUN, CheckResult(verdict=Verdict.UNKNOWN, summary=why)))
    verdicts = [result.verdict for _, result in cases]
    suite = add_suite(root, run.scenario, verdicts, seconds=run.seconds, written_at=written_at)
    add_properties(suite, _facts(run))
    pending: dict[Any, Story | None] = {**stories(run, data_of(run))}
    for name, result in cases:
        _case(suite, run, name, result, pending)


def _facts(run: ScenarioRun) -> dict[str, str]:
    return {
        "backend": run.backend,
        "target": f"{run.target} {run.target_version}",
        "postgres": run.servers.postgres,
        "redis": run.servers.redis,
        **run.servers.others,
        "seed": str(run.seed),
        "tasks": str(run.tasks),
        "repeat": run.repeat,
        "verdict": verdict_text([run]),
    }


def _case(
    suite: Element, run: ScenarioRun, name: str, result: CheckResult, pending: dict[Any, Story | None]
) -> None:
    """One test case. Stories that it contains become None in `pending`, so that no later case repeats them."""
    found = add_case(suite, run.scenario, name, result.verdict, result.summary)
    if found is None or result.verdict is Verdict.NOT_ASKED:
        return
    quote = result.promise
    promise = [] if quote is None else [f'promised: "{quote.sentence}" ({quote.address})']
    members = [line for member in result.counterexamples for line in _member(member, pending)]
    found.text = clean("\n".join([result.summary, *promise, *members, f"repeat: {run.repeat}"]))


def _member(member: Mapping[str, Any], pending: dict[Any, Story | None]) -> Iterator[str]:
    """A counterexample in one line, its further fields as JSON, and the story of its task if no case before has it."""
    task, kind, why = (member.get(name) for name in ("task", "kind", "why"))
    numbered = type(task) is int
    head = ", ".join(str(part) for part in (f"task {task}" if numbered else task, kind) if part is not None)
    yield ": ".join(str(part) for part in (head, why) if part)
    described = numbered and task in pending
    shown = {"task", "kind", "why", *(("activity", "operations") if described else ())}
    if rest := {name: value for name, value in member.items() if name not in shown}:
        yield f"    {json.dumps(masked_json(rest), ensure_ascii=False)}"
    if described:
        story = pending[task]
        pending[task] = None
        yield "    (what happened to it: see above)" if story is None else f"    {story.text}"
