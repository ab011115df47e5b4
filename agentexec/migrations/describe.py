"""Differences that Alembic finds, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Constraint, Index


def describe(difference: Any) -> Iterator[str]:
    """Lines for one entry of `alembic.autogenerate.compare_metadata`: a tuple, or a list of changes to a column."""
    if isinstance(difference, list):
        for change in difference:
            yield from describe(change)
        return
    verb, *rest = difference
    action, _, kind = verb.partition("_")
    problem = "is missing" if action == "add" else "is not in the models"
    match action, kind, rest:
        case "add" | "remove", "table", [table]:
            yield f"table {table.name} {problem}"
        case "add" | "remove", "column", [_, table, column]:
            yield f"column {table}.{column.name} {problem}"
        case "add" | "remove", _, [Constraint() | Index() as item] if item.table is not None:
            name = kind.replace("_", " ").replace("fk", "foreign key")
            yield f"{name} {item.name or '(without a name)'} of {item.table.name} {problem}"
        case "modify", "type" | "nullable" | "default", [_, table, column, _, found, wanted]:
            yield f"column {table}.{column} has {kind} {_plain(found)} and should have {_plain(wanted)}"
        case _:
            yield f"{verb}: {', '.join(str(part) for part in rest)}"


def _plain(value: Any) -> str:
    """A type or a flag as it is; a default as its SQL."""
    return str(getattr(value, "arg", value))
