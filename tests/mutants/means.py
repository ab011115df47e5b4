"""The means that judge a mutant, each alone: tests, two state machines, and simulated schedules.

Each runs the implementation of this process. With a `LineTrace` it says which lines it reaches in the implementation
without a mutant; a mutant meets only the tests and schedules that reach it, because the others cannot notice it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pytest

from harness.simulation import simulate
from tests.mutants.line_trace import LineTrace
from tests.properties.finders import FINDERS

SEED = 1
EXAMPLES = {"queue machine": 40, "activity machine": 80}
SCHEDULES = 300
CONTRACT, UNIT, SIMULATION = "contract suite", "unit tests", "simulation"
TESTS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        CONTRACT: [
            f"tests/conformance/test_{name}.py"
            for name in (
                "queue",
                "lock_keys",
                "names",
                "suspects",
                "store",
                "queue_details",
                "queue_workers",
                "store_marks",
                "recording",
            )
        ],
        UNIT: ["tests/unit/agentexec", "tests/unit/harness/simulation/test_memory_queue.py"],
    }
)
OPTIONS = ["-q", "-n0", "-p", "no:cacheprovider", "--timeout=60", "-m", "not integration and not containers"]

Means = Callable[[Sequence[str] | None, LineTrace | None], str | None]
"""Runs all its units, or only some of them, and returns what showed a mutant; with a trace it goes on to the end."""


def run_tests(files: Sequence[str], units: Sequence[str] | None, trace: LineTrace | None) -> str | None:
    """The first test that fails."""
    watcher = _Watcher(trace)
    stop = ["-x"] if trace is None else []
    code = pytest.main([*OPTIONS, *stop, *(files if units is None else units)], plugins=[watcher])
    if watcher.failed is None and code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return f"pytest ends with {code!r}"
    return watcher.failed


def run_simulation(units: Sequence[str] | None, trace: LineTrace | None) -> str | None:
    """The first schedule with a finding."""
    found = None
    for seed in map(int, units) if units is not None else range(SCHEDULES):
        if trace is None:
            findings = simulate(seed).findings
        else:
            with trace.of(str(seed)):
                findings = simulate(seed).findings
        if findings:
            found = found or f"schedule {seed}: {findings[0].checker}: {findings[0].kind}"
            if trace is None:
                return found
    return found


def run_machine(means: str, trace: LineTrace | None) -> str | None:
    """The first example that a state machine refuses."""
    if trace is None:
        finding = FINDERS[means](EXAMPLES[means], SEED, shrink=False)
    else:
        with trace.of(means):
            finding = FINDERS[means](EXAMPLES[means], SEED, shrink=False)
    return f"example {finding.examples}: {finding.error.splitlines()[0]}" if finding else None


MEANS: Mapping[str, Means] = MappingProxyType(
    {
        CONTRACT: lambda units, trace: run_tests(TESTS[CONTRACT], units, trace),
        UNIT: lambda units, trace: run_tests(TESTS[UNIT], units, trace),
        "queue machine": lambda _, trace: run_machine("queue machine", trace),
        "activity machine": lambda _, trace: run_machine("activity machine", trace),
        SIMULATION: run_simulation,
    }
)


class _Watcher:
    """The plugin of pytest that notes what failed, and traces each test."""

    def __init__(self, trace: LineTrace | None) -> None:
        self._trace = trace
        self.failed: str | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        if self._trace is None:
            return (yield)
        with self._trace.of(item.nodeid):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid
