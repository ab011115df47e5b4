"""What Alembic finds different, in words that a reader of a terminal can act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def describe(difference: Any) -> Iterator[str]:
    """Lines for one entry of `alembic.autogenerate.compare_metadata`: a tuple, or a list of changes to a column."""
    if isinstance(difference, list):
        for change in difference:
            yield from describe(change)
        return
    verb, *rest = difference
    yield _WORDS.get(verb, _other)(verb, rest)


def _table(verb: str, rest: list[Any]) -> str:
    return f"table {rest[0].name} {_missing(verb)}"


def _column(verb: str, rest: list[Any]) -> str:
    _schema, table, column = rest
    return f"column {table}.{column.name} {_missing(verb)}"


def _item(verb: str, rest: list[Any]) -> str:
    item = rest[0]
    kind = verb.partition("_")[2].replace("_", " ").replace("fk", "foreign key")
    return f"{kind} {item.name or '(without a name)'} of {item.table.name} {_missing(verb)}"


def _changed(verb: str, rest: list[Any]) -> str:
    _schema, table, column, _existing, found, wanted = rest
    what = verb.removeprefix("modify_")
    return f"column {table}.{column} has {what} {_plain(found)} and should have {_plain(wanted)}"


def _plain(value: Any) -> str:
    """A type or a flag as it is; a default by the SQL that computes it."""
    return str(getattr(value, "arg", value))


def _other(verb: str, rest: list[Any]) -> str:
    return f"{verb}: {', '.join(str(part) for part in rest)}"


def _missing(verb: str) -> str:
    return "is missing" if verb.startswith("add") else "is not in the models"


_WORDS = {
    "add_table": _table,
    "remove_table": _table,
    "add_column": _column,
    "remove_column": _column,
    **{
        f"{verb}_{kind}": _item
        for verb in ("add", "remove")
        for kind in ("index", "constraint", "fk", "unique_constraint", "check_constraint")
    },
    "modify_type": _changed,
    "modify_nullable": _changed,
    "modify_default": _changed,
}
