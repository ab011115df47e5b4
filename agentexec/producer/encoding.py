"""Write a context as JSON so that it arrives as it was sent, or refuse it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from agentexec.errors import InvalidTask
from agentexec.task import encode_payload, read_context
from agentexec.text import first_line

# The first form that the receiver reads is sent. The first is that of earlier versions. The second omits computed
# fields and writes `Json[...]` as text. The third is for a model in which one field has the name of another's alias.
_FORMS: tuple[Mapping[str, Any], ...] = ({}, {"round_trip": True}, {"round_trip": True, "by_alias": True})


class WrittenContext(NamedTuple):
    """A context as a JSON object, as the worker will read it, and in the payload of its task."""

    written: dict[str, Any]
    received: BaseModel
    payload: bytes


def write_context(task_name: str, context: BaseModel, receiver: type[BaseModel] | None) -> WrittenContext:
    """Write the context of a task in the form that its handler can read.

    `receiver` is the model of the handler, None where this process does not know it: then that of the context. A
    context of the receiver's own class has to arrive as it was sent. One of another class only has to fit. Raises
    `InvalidTask` that names the fields, without their values.
    """
    problem: InvalidTask | None = None
    for form in _FORMS:
        try:
            return _write(task_name, context, receiver or type(context), form)
        except InvalidTask as error:
            problem = problem or error
    assert problem is not None, "there is a form"
    raise problem


def _write(
    task_name: str, context: BaseModel, receiver: type[BaseModel], form: Mapping[str, Any]
) -> WrittenContext:
    try:
        written: object = context.model_dump(mode="json", **form)
    except Exception as error:  # noqa: BLE001 - a serializer of the application may raise anything
        problem = f"cannot be written as JSON ({first_line(error)}); use JSON values only"
        raise InvalidTask(f"The context of {task_name} {problem}.") from None
    if not isinstance(written, dict):
        problem = (
            f"is a JSON {type(written).__name__}, but has to be an object; put it into a field of a model"
        )
        raise InvalidTask(f"The context of {task_name} {problem}.")
    payload = encode_payload(task_name, written, dumped=True)
    same_class = receiver is type(context)
    try:
        received = read_context(receiver, written)
    except InvalidTask as error:
        problem = "does not arrive as it was sent" if same_class else f"does not fit {receiver.__name__}"
        raise InvalidTask(f"The context of {task_name} {problem}: {error}.") from error.__cause__
    changed = _changed_fields(context, received) if same_class else []
    if changed:
        problem = f"does not arrive as it was sent: JSON changes {', '.join(changed)}"
        raise InvalidTask(f"The context of {task_name} {problem}; use types whose JSON can be read back.")
    return WrittenContext(written, received, payload)


def _changed_fields(sent: BaseModel, received: BaseModel) -> list[str]:
    """The fields that differ, each with the type of its value, without the value."""
    if _equal(sent, received):
        return []
    before, after = _fields(sent), _fields(received)
    names = [name for name in before | after if not _same(before.get(name), after.get(name))]
    return [f"the field {name} ({type(before.get(name)).__name__})" for name in names]


def _fields(model: BaseModel) -> dict[str, Any]:
    """The values of all fields, without private attributes, which are not sent."""
    return {name: getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})


def _same(sent: Any, received: Any) -> bool:
    """Whether a value arrived. JSON has one kind of list, so a tuple may arrive as a list."""
    if _equal(sent, received):
        return True
    if isinstance(sent, BaseModel):
        return type(sent) is type(received) and not _changed_fields(sent, received)
    if isinstance(sent, list | tuple) and isinstance(received, list | tuple):
        return len(sent) == len(received) and all(map(_same, sent, received))
    if isinstance(sent, dict) and isinstance(received, dict):
        return sent.keys() == received.keys() and all(_same(sent[key], received[key]) for key in sent)
    return type(sent) is type(received) and _is_incomparable(sent)


def _equal(sent: Any, received: Any) -> bool:
    try:
        return bool(sent == received)
    except Exception:  # noqa: BLE001 - a type of the application may raise anything
        return False


def _is_incomparable(value: Any) -> bool:
    """Whether a value may differ from its own copy: an object without a comparison, an array, NaN."""
    comparison: object = type(value).__eq__
    return comparison is object.__eq__ or not _equal(value, value)
