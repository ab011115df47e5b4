"""docs/reference/settings.md names every setting of agentexec, with its variables and its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices

from agentexec.config import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "settings.md"
ROW = re.compile(r"^\| (?P<names>`[^|]*`) \| (?P<default>[^|]*) \|", re.MULTILINE)


def documented() -> dict[tuple[str, ...], str]:
    """Variables and default of each row of the first table."""
    table = PAGE.read_text("utf-8").partition("## agentexec")[2].partition("\n## ")[0]
    return {tuple(re.findall(r"`([A-Z_]+)`", row["names"])): row["default"] for row in ROW.finditer(table)}


def settings() -> Iterator[tuple[tuple[str, ...], str]]:
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias or f"AGENTEXEC_{name.upper()}"]
        yield tuple(map(str, names)), shown(field.default)


def shown(default: Any) -> str:
    if default is None:
        return "none"
    return f"`{default}`" if isinstance(default, str) else f"{default:g}" if default < 1e5 else str(default)


@pytest.mark.parametrize(("names", "default"), list(settings()), ids=lambda value: str(value))
def test_a_setting_is_documented_with_its_variables_and_its_default(
    names: tuple[str, ...], default: str
) -> None:
    assert documented().get(names) == default


def test_the_page_names_no_other_setting() -> None:
    assert documented().keys() == {names for names, _ in settings()}
