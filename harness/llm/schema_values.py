"""Values that a JSON schema allows: arguments of tool calls, and structured answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from random import Random
from typing import Any

from harness.llm.request import RefusedRequest
from harness.llm.words import words

_DEEPEST = 8
_MOST_ITEMS = 100
_LONGEST_TEXT = 10_000
_MANY_VALUES = 1_000
_MOST_VALUES = 100_000


def schema_value(schema: Mapping[str, Any], rng: Random) -> Any:
    """A value for the usual keywords of JSON schema; all properties of an object are given, as strict tools ask.

    Deep down, and after a thousand values, only required properties are given. Raises `RefusedRequest` if a keyword has
    a value that it cannot have, or if the schema requires too many values.
    """
    try:
        return _value(schema, rng, schema, 0, count(1))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise RefusedRequest(
            400, f"Invalid schema: {type(error).__name__}: {error}.", code="invalid_function_parameters"
        ) from None


def _value(
    schema: Mapping[str, Any], rng: Random, root: Mapping[str, Any], depth: int, numbers: Iterator[int]
) -> Any:
    number = next(numbers)
    if number > _MOST_VALUES:
        raise ValueError(f"it requires more than {_MOST_VALUES} values")
    if number > _MANY_VALUES:
        depth = max(depth, _DEEPEST)
    schema = _resolved(schema, rng, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    match kind:
        case "integer" | "number":
            return _number(schema, rng, whole=kind == "integer")
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case "string":
            return _text(schema, rng)
        case "array":
            least = min(int(schema.get("minItems", 1)), _MOST_ITEMS)
            length = max(least, min(int(schema.get("maxItems", least + 1)), rng.randint(least, least + 1)))
            items = schema.get("items") or {"type": "string"}
            return [
                _value(items, rng, root, depth + 1, numbers)
                for _ in range(length if depth < _DEEPEST else least)
            ]
    properties = schema.get("properties") or {}
    if depth >= _DEEPEST:
        properties = {name: properties[name] for name in schema.get("required", []) if name in properties}
    if depth >= 2 * _DEEPEST:
        return {}
    return {name: _value(each, rng, root, depth + 1, numbers) for name, each in properties.items()}


def _resolved(
    schema: Mapping[str, Any], rng: Random, root: Mapping[str, Any], depth: int
) -> Mapping[str, Any]:
    """The schema without references to definitions and alternatives; deep down the last alternative is taken."""
    for _ in range(_DEEPEST):
        options = schema.get("anyOf") or schema.get("oneOf")
        reference = schema.get("$ref")
        if isinstance(reference, str):
            schema = _pointed(root, reference)
        elif options:
            schema = options[-1] if depth >= _DEEPEST else rng.choice(options)
        else:
            break
    return schema


def _pointed(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _number(schema: Mapping[str, Any], rng: Random, *, whole: bool) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 100))
    if whole:
        inside = int("exclusiveMinimum" in schema), int("exclusiveMaximum" in schema)
        return rng.randint(int(least) + inside[0], max(int(least) + inside[0], int(most) - inside[1]))
    return round(rng.uniform(least, most), 3)


def _text(schema: Mapping[str, Any], rng: Random) -> str:
    match schema.get("format"):
        case "date":
            return f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        case "date-time":
            return f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T12:00:00Z"
        case "email":
            return f"{rng.choice(words(2, rng)).strip()}@example.org"
        case "uuid":
            return f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}"
        case "uri":
            return f"https://example.org/{rng.randint(1, 999)}"
    text = "".join(words(rng.randint(1, 3), rng)).strip()
    text += "." * max(0, min(int(schema.get("minLength", 0)), _LONGEST_TEXT) - len(text))
    return text[: schema.get("maxLength")]
