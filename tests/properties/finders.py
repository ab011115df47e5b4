"""The state machines as finders: given a modified implementation, the steps that show its defect.

The modification is made in this process before the call, by whatever means: the machines look up `MemoryQueue`,
`RedisQueue`, its scripts and the store's statements anew for every example.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from tests.properties.queue_machine import QueueMachine
from tests.properties.test_activity_machine import OverFakes


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A defect. `steps` are the rules as Python, shrunk where that was asked for, and `script` is the same with what it
    has to import: pasted where the defect is, it raises the error again. `examples` were tried up to the first that
    failed, which took `seconds`; shrinking comes on top.
    """

    steps: str
    script: str
    error: str
    examples: int
    seconds: float


class Finder(Protocol):
    """Looks for a defect of the queue or of the record as they are in this process at the time of the call."""

    def __call__(self, max_examples: int, seed: int, *, shrink: bool = True) -> Finding | None:
        """The first defect among `max_examples` examples, None where all of them held. One seed, one answer."""


def find_in_queue(max_examples: int, seed: int, *, shrink: bool = True) -> Finding | None:
    """Drive the queues in step; a finding is where they differ, or break an invariant."""
    return _find(QueueMachine, max_examples, seed, steps=40, shrink=shrink)


def find_in_activities(max_examples: int, seed: int, *, shrink: bool = True) -> Finding | None:
    """Drive workers over SQLite and fakeredis; a finding is a row that differs from the model."""
    return _find(OverFakes, max_examples, seed, steps=30, shrink=shrink)


FINDERS: dict[str, Finder] = {"queue machine": find_in_queue, "activity machine": find_in_activities}


class _ExampleCounter:
    """Counts the runs of a test up to the first failure."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.runs = 0
        self.first: Finding | None = None

    def counting(self, test: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> None:
            self.runs += 1
            try:
                test(*arguments, **named)
            except HypothesisException:  # an example given up is no failure
                raise
            except Exception as error:
                took = time.monotonic() - self.began
                self.first = self.first or Finding(
                    steps="", script="", error=_text(error), examples=self.runs, seconds=took
                )
                raise

        return run


def _find(
    machine: type[RuleBasedStateMachine], max_examples: int, seed_: int, *, steps: int, shrink: bool
) -> Finding | None:
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    chosen = settings(
        max_examples=max_examples,
        stateful_step_count=steps,
        phases=phases,
        report_multiple_bugs=False,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    test: Any = seed(seed_)(get_state_machine_test(machine, settings=chosen))
    counter = _ExampleCounter()
    test.hypothesis.inner_test = counter.counting(test.hypothesis.inner_test)
    try:
        with _no_logs():
            test()
    except Exception as error:
        if counter.first is None:  # the test could not even begin
            raise
        script = _printed(error)
        rules = "\n".join(line for line in script.splitlines() if not line.startswith("from "))
        return replace(counter.first, steps=rules, script=script, error=_text(error))
    return None


@contextlib.contextmanager
def _no_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _printed(error: BaseException) -> str:
    """What Hypothesis prints of a failing example, from the imports on."""
    lines = "\n".join(getattr(error, "__notes__", [])).splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith(("from ", "state = "))), len(lines))
    return "\n".join(lines[first:])


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip()
