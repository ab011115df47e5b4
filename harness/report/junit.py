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
    root = Element("testsuites", name="agentexec-harness")
    for run in runs:
        _suite(root, run, written_at)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in root)))
    root.set("time", f"{sum(run.seconds for run in runs):.3f}")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, run: ScenarioRun, written_at: str) -> None:
    cases = list(run.results.items())
    if run.error is not None or not cases:
        why = run.error or "no checker was run"
        cases.append((RUN, CheckResult(verdict=Verdict.UNKNOWN, summary=why)))
    verdicts = [result.verdict for _, result in cases]
    suite = SubElement(
        root,
        "testsuite",
        name=clean(run.scenario),
        tests=str(len(cases)),
        failures=str(verdicts.count(Verdict.INVALID)),
        errors=str(verdicts.count(Verdict.UNKNOWN)),
        skipped=str(verdicts.count(Verdict.NOT_ASKED)),
        time=f"{run.seconds:.3f}",
        timestamp=written_at,
    )
    _properties(suite, run)
    pending: dict[Any, Story | None] = {**stories(run, data_of(run))}
    for name, result in cases:
        _case(suite, run, name, result, pending)


def _properties(suite: Element, run: ScenarioRun) -> None:
    properties = SubElement(suite, "properties")
    facts = {
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
    for name, value in facts.items():
        SubElement(properties, "property", name=name, value=clean(value))


def _case(
    suite: Element, run: ScenarioRun, name: str, result: CheckResult, pending: dict[Any, Story | None]
) -> None:
    """One test case. Stories that it contains become None in `pending`, so that no later case repeats them."""
    case = SubElement(suite, "testcase", classname=clean(run.scenario), name=clean(name), time="0")
    if result.verdict is Verdict.VALID:
        return
    if result.verdict is Verdict.NOT_ASKED:
        SubElement(case, "skipped", message=clean(result.summary))
        return
    kind = "failure" if result.verdict is Verdict.INVALID else "error"
    found = SubElement(case, kind, message=clean(result.summary), type=result.verdict.value)
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
