"""What a handler returns, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from agentexec.config import variable
from agentexec.errors import InvalidTask
from agentexec.text import checked_json

# NaN and infinity are refused as everywhere, not written as null.
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))
_REMEDY = "return a pydantic model, None, or values that pydantic can write as JSON"


def json_result(result: Any, limit: int) -> tuple[Any, str]:
    """The result as pydantic writes it, and its JSON text.

    Raises `InvalidTask` for one that has no JSON form, or whose text takes more than `limit` bytes.
    """
    if result is None:
        return None, "null"
    try:
        value = _json_value(result)
    except BaseException as error:  # noqa: BLE001 - a serializer of the application may raise anything
        reason = str(error) if isinstance(error, ValueError | TypeError) else type(error).__name__
        raise InvalidTask(f"The handler's result cannot be written as JSON ({reason}); {_REMEDY}.") from None
    text = checked_json(value, "The handler's result", _REMEDY)
    size = len(text.encode())
    if size > limit:
        raise InvalidTask(
            f"The handler's result takes {size} bytes, more than {variable('max_result_bytes')} allows ({limit}); "
            "store the data elsewhere and return a reference to it."
        )
    return value, text


def _json_value(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    if isinstance(result, Iterator):  # it may have no end
        raise TypeError(f"a {type(result).__name__} is no list")
    return _ANYTHING.dump_python(result, mode="json", by_alias=False)
