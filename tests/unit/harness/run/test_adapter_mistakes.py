"""A mistake of an adapter accuses nothing and is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from harness.checkers.adapter import without_mistakes
from harness.checkers.base import Verdict
from harness.history import History, Operation
from harness.scenario import ScenarioRun
from harness.targets.base import Submission, TaskSpec
from tests.support.instant_target import Instant, NoFault, Run, SleepingPool


@dataclass
class Careless(Instant):
    """A target with one mistake in its adapter; task 7 is unfinished for ever, which is no loss that could be shown."""

    mistake: str = ""

    def version(self) -> str:
        if self.mistake == "version":
            raise KeyError("agentexec")
        return "1"

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        answers = super().submit(tasks)
        match self.mistake:
            case "too few answers":
                return answers[:-1]
            case "answers twice":
                return [*answers, answers[0]]
            case "answers for another task":
                return [*answers[:-1], Submission(number=999, activity="a999")]
            case "answers with text":
                return [Submission(number=str(one.number), activity=one.activity) for one in answers]  # type: ignore[arg-type]
            case "an answer without a content":
                return [Submission(number=one.number) for one in answers]
            case "no list":
                return None  # type: ignore[return-value]
        return answers

    def unfinished(self) -> int:
        match self.mistake:
            case "unfinished raises":
                raise KeyError("pending")
            case "unfinished is text":
                return "1"  # type: ignore[return-value]
            case "unfinished is nothing":
                return None  # type: ignore[return-value]
            case "unfinished is negative":
                return -1
        return super().unfinished()

    def witnesses(self) -> Iterable[Operation]:
        for number, operation in enumerate(super().witnesses()):
            if self.mistake == "witnesses raises half way" and number == 60:
                raise ConnectionError("reset by peer")
            if self.mistake == "witnesses returns text" and number == 60:
                yield operation.to_json()  # type: ignore[misc]
            yield operation

    def start_pool(self) -> SleepingPool:
        if self.mistake == "no program":
            raise FileNotFoundError(2, "No such file or directory", "rq")
        pool = super().start_pool()
        if self.mistake == "a pool without a code":
            process = pool.process
            pool.wait = lambda timeout: (process.wait(), None)[1]  # type: ignore[method-assign]
        if self.mistake == "a pool whose wait raises":
            pool.wait = lambda timeout: process_ended(pool)  # type: ignore[method-assign]
        return pool


def process_ended(pool: SleepingPool) -> int:
    pool.process.wait()
    raise ChildProcessError("no child process")


NAMED = {
    "too few answers": "`submit` got tasks ",
    "answers twice": "`submit` got tasks ",
    "answers for another task": "`submit` got tasks ",
    "answers with text": "`submit` got tasks ",
    "an answer without a content": "neither an activity nor an error",
    "no list": "`submit` raised TypeError: 'NoneType' object is not iterable",
    "unfinished raises": "`unfinished` raised KeyError: 'pending'",
    "unfinished is text": "`unfinished` raised ValueError: it returned '1'",
    "unfinished is nothing": "it returned None",
    "unfinished is negative": "it returned -1",
    "witnesses raises half way": "`witnesses` raised ConnectionError: reset by peer",
    "witnesses returns text": "`witnesses` raised TypeError: it returned str",
    "no program": "`start_pool` raised FileNotFoundError",
    "a pool without a code": "`exit` of pool-1 has None as `code`",
    "a pool whose wait raises": "`exit` of pool-1 has None as `code`",
}


@pytest.mark.parametrize(("mistake", "named"), NAMED.items(), ids=NAMED.keys())
def test_a_mistake_of_the_adapter_accuses_nothing_and_is_named(run: Run, mistake: str, named: str) -> None:
    target = Careless(mistake=mistake)
    found = run(target, NoFault())
    assert found.verdict is Verdict.UNKNOWN, found.results
    adapter = found.results["adapter"]
    assert (adapter.verdict, named in adapter.summary) == (Verdict.UNKNOWN, True), adapter.summary
    assert "INVALID" not in {one.verdict for one in found.results.values()}
    again = judge_again(found)
    assert again["adapter"].summary == adapter.summary


def judge_again(run: ScenarioRun) -> Any:
    assert run.history_path is not None
    return without_mistakes(dict(run.results), History.load(run.history_path))


def test_a_count_that_raises_does_not_make_a_task_that_still_runs_a_lost_one(run: Run) -> None:
    found = run(Careless(mistake="unfinished raises", forgets=frozenset({7})), NoFault())
    assert found.verdict is Verdict.UNKNOWN
    assert found.results["delivery"].verdict is Verdict.UNKNOWN


def test_a_version_that_raises_costs_no_verdict(run: Run) -> None:
    found = run(Careless(mistake="version"), NoFault())
    assert found.target_version == "of unknown version"
    assert found.results["delivery"].verdict is Verdict.VALID
