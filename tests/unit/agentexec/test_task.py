from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agentexec.errors import InvalidTask, RegistrationError
from agentexec.task import Priority, Registry, TaskDefinition, decode_payload, encode_payload


class Question(BaseModel):
    text: str
    times: int = 1


class Answer(BaseModel):
    text: str


async def answer(agent_id: UUID, context: Question) -> Answer:
    return Answer(text=context.text)


async def without_context(agent_id: UUID) -> None: ...


async def without_id(context: Question) -> None: ...


async def without_annotation(agent_id: UUID, context) -> None: ...  # type: ignore[no-untyped-def]  # the point of it


async def with_a_dict(agent_id: UUID, context: dict[str, Any]) -> None: ...


async def with_an_unknown_name(agent_id: UUID, context: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point of it


def test_the_types_of_a_handler_are_its_annotations() -> None:
    definition = TaskDefinition("answer", answer)
    assert (definition.context_type, definition.is_async) == (Question, True)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (without_context, "parameters"),
        (without_id, "parameters"),
        (without_annotation, "annotated with a pydantic model"),
        (with_a_dict, "annotated with a pydantic model"),
        (with_an_unknown_name, "import the model at module level"),
    ],
)
def test_a_handler_without_its_annotations_is_refused_by_name(handler: Any, says: str) -> None:
    with pytest.raises(RegistrationError, match=says) as caught:
        TaskDefinition("task", handler)
    assert handler.__qualname__ in str(caught.value)
    assert isinstance(caught.value, TypeError), "as published"


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_task_name_has_1_to_255_characters(name: str) -> None:
    with pytest.raises(RegistrationError, match="1 to 255"):
        TaskDefinition(name, answer)


def test_a_name_belongs_to_one_handler() -> None:
    async def other(agent_id: UUID, context: Question) -> None: ...

    registry = Registry()
    registry.add(TaskDefinition("answer", answer))
    registry.add(TaskDefinition("answer", answer))
    with pytest.raises(RegistrationError, match="registered twice"):
        registry.add(TaskDefinition("answer", other))
    assert (list(registry), len(registry), registry.get("nothing")) == (["answer"], 1, None)


def test_a_context_that_does_not_fit_is_explained_without_its_values() -> None:
    with pytest.raises(InvalidTask) as caught:
        TaskDefinition("answer", answer).validate({"text": 5, "times": "secret"})
    assert "text: " in str(caught.value)
    assert "times: " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_high_is_served_first() -> None:
    assert (Priority.HIGH.level, Priority.LOW.level) == (0, 1)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
contexts = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=10,
    ),
)


@given(name=texts.filter(bool), context=contexts)
def test_a_payload_comes_back_as_it_was_sent(name: str, context: dict[str, Any]) -> None:
    assert decode_payload(encode_payload(name, context)) == (name, context)


@pytest.mark.parametrize(
    "text", [r"\u0000", r"\\u0000", "a backslash \\ and u0000", "\N{SNOWMAN}", "\U0001f600"]
)
def test_text_that_only_looks_forbidden_is_sent(text: str) -> None:
    assert decode_payload(encode_payload("task", {"text": text})) == ("task", {"text": text})


@pytest.mark.parametrize("value", [b'"\\ud800"', b"[" * 500 + b"]" * 500])
def test_a_payload_that_others_wrote_is_read_as_json_reads_it(value: bytes) -> None:
    data = b'{"task_name":"task","context":{"value":' + value + b"}}"
    assert decode_payload(data) == ("task", json.loads(data)["context"])


@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "\\\0",
        {"\0": 1},
        "\ud800",
        {"\udfff": 1},
        float("nan"),
        float("-inf"),
        object(),
        b"bytes",
        {1, 2},
        10**5000,
    ],
    ids=range(11),
)
def test_what_the_record_cannot_store_is_refused_before_anything_is_written(value: Any) -> None:
    with pytest.raises(InvalidTask, match="the_task"):
        encode_payload("the_task", {"value": value})


def test_a_context_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(InvalidTask, match="cannot be written as JSON"):
            encode_payload("task", {"value": value})


@given(st.binary())
def test_bytes_that_are_no_payload_are_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        name, context = decode_payload(data)
    except InvalidTask:
        return
    assert json.loads(data)["task_name"] == name
    assert isinstance(context, dict)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"task_name": 1, "context": {}}',
        b'{"task_name": "x"}',
        b'{"task_name": "x", "context": []}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=range(8),
)
def test_json_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTask):
        decode_payload(data)
