"""Answers of an adapter's client: only what the protocol asks for becomes an outcome or evidence."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import Operation
from harness.targets.adapter_answers import WrongAnswer, count, evidence, submissions, version_of
from harness.targets.base import Submission, TaskSpec

TASKS = [TaskSpec(number=1), TaskSpec(number=2)]
RECORD = {"task": 1, "activity": "a", "status": "complete"}
QUEUE = {"ready": 0, "leased": 0, "scheduled": 0, "dead": 0}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*RECORD, "f", "value"]), inner)
    ),
)


def test_right_answers_are_read() -> None:
    assert version_of({"protocol": 1, "version": "2"}) == "2"
    assert version_of({"protocol": 1}) is None
    assert count(3) == 3
    answer = [{"number": 1, "activity": "a"}, {"number": 2, "error": "no", "certain": True}]
    assert submissions(answer, TASKS) == [
        Submission(number=1, activity="a"), Submission(number=2, error="no", certain=True)
    ]  # fmt: skip
    assert evidence({"f": "record", "value": RECORD}).process == "postgres"
    assert evidence({"f": "queue", "value": {**QUEUE, "held": ["a"]}}).process == "redis"


@pytest.mark.parametrize("answer", [None, {}, {"protocol": 2}, {"protocol": "1"}, "1"])
def test_a_wrong_hello_is_refused(answer: object) -> None:
    with pytest.raises(WrongAnswer, match="protocol"):
        version_of(answer)


@pytest.mark.parametrize("answer", [None, -1, 1.0, True, "3", [], 2.5])
def test_a_count_is_a_whole_number(answer: object) -> None:
    with pytest.raises(WrongAnswer, match="whole number"):
        count(answer)


@pytest.mark.parametrize(
    "answer",
    [
        None, {}, [], [{"number": 1, "activity": "a"}],
        [{"number": 2, "activity": "a"}, {"number": 1, "activity": "b"}],
        [{"number": 1, "activity": ""}, {"number": 2, "activity": "b"}],
        [{"number": 1, "activity": 5}, {"number": 2, "activity": "b"}],
        [{"number": 1}, {"number": 2, "activity": "b"}],
        [{"number": 1, "activity": "a"}, {"number": 2, "activity": "b"}, "and more"],
    ],
)  # fmt: skip
def test_each_task_has_its_own_outcome_in_order(answer: object) -> None:
    with pytest.raises(WrongAnswer, match="for each task, in order"):
        submissions(answer, TASKS)


@pytest.mark.parametrize(
    "value",
    [
        {**RECORD, "task": True}, {**RECORD, "task": "1"}, {**RECORD, "activity": 7}, {**RECORD, "activity": ""},
        {**RECORD, "status": "finished"}, {**RECORD, "status": None}, {"task": 1}, {},
    ],
)  # fmt: skip
@pytest.mark.parametrize("f", ["record", "transition"])
def test_a_record_names_task_activity_and_a_known_status(f: str, value: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswer, match="`task`"):
        evidence({"f": f, "value": value})


@pytest.mark.parametrize(
    "value",
    [{}, {**QUEUE, "ready": None}, {**QUEUE, "leased": -1}, {**QUEUE, "dead": "none"}, {**QUEUE, "held": "a"},
     {**QUEUE, "held": [1]}, {**QUEUE, "scheduled": True}],
)  # fmt: skip
def test_a_report_of_the_queue_counts(value: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswer, match="whole numbers ready"):
        evidence({"f": "queue", "value": value})


@pytest.mark.parametrize("answer", [{"f": "run", "value": {}}, {"f": "record"}, {"value": RECORD}, [], None])
def test_evidence_is_of_the_store_or_the_queue(answer: object) -> None:
    with pytest.raises(WrongAnswer, match="transition"):
        evidence(answer)


@given(anything)
def test_no_answer_does_anything_else_than_be_read_or_refused(answer: object) -> None:
    for read in (version_of, count, evidence, lambda one: submissions(one, TASKS)):
        with suppress(WrongAnswer):
            found: object = read(answer)
            assert found is None or isinstance(found, str | int | list | Operation)
