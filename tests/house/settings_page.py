"""`python -m tests.house.settings_page`: write the table of `agentexec config --markdown`, there and into its page.

The names, type, default and range of a row are those of the setting; unit and meaning stay as the table has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from agentexec.cli.settings import TABLE
from agentexec.config import Settings, variable
from tests.house.sources import ROOT
from tests.house.written_page import WrittenPage

HEADER = "| variable | type | default | unit | range | meaning |\n|---|---|---|---|---|---|"
_TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", SecretStr: "secret"}


def settings_table() -> str:
    """The table in Markdown, one row for each setting in the order of the class."""
    return "\n".join([HEADER, *(_row(name, field) for name, field in Settings.model_fields.items())])


def described() -> dict[str, tuple[str, str]]:
    """Unit and meaning of each variable in the table of `agentexec config --markdown`."""
    return dict(_described(TABLE.read_text("utf-8")))


def _described(table: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for row in table.splitlines()[2:]:
        names, _type, _default, unit, _range, meaning = row[2:-2].split(" | ")
        yield names.partition(",")[0].strip("`"), (unit, meaning)


def _row(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias or variable(name)]
    unit, meaning = described().get(variable(name), ("", ""))
    cells = (
        ", ".join(f"`{one}`" for one in names),
        _type(field.annotation),
        _default(field.default),
        unit,
        _range(field.metadata),
        meaning,
    )
    return f"| {' | '.join(cells)} |"


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType] or [annotation]
    return _type(kinds[0]) if kinds != [annotation] else _TYPES[annotation]


def _default(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"{default:.15g}"


def _range(metadata: list[Any]) -> str:
    """The bounds of a number, such as "from 1 to 1024"."""
    words = (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
    bounds = ((word, getattr(limit, name, None)) for name, word in words for limit in metadata)
    return " ".join(f"{word} {bound:.15g}" for word, bound in bounds if bound is not None)


PAGE = WrittenPage(
    path=ROOT / "docs" / "reference" / "settings.md", module="tests.house.settings_page", table=settings_table
)

if __name__ == "__main__":
    Path(str(TABLE)).write_text(f"{settings_table()}\n", "utf-8")
    PAGE.write()
