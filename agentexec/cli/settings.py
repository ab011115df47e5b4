"""`agentexec config`: the settings in effect, secrets masked, and the table of docs/reference/settings.md."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from importlib.resources import files
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from agentexec.cli.parsing import JSON, argument, command
from agentexec.config import Settings, load_settings, variable
from agentexec.masking import MASK, masked

HEADER = "| variable | type | default | unit | range | meaning |\n|---|---|---|---|---|---|"
MEANINGS = tomllib.loads((files("agentexec.cli") / "meanings.toml").read_text("utf-8"))
_TYPES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", SecretStr: "secret"}
# Parameters of a URL that may be secrets; masking in general covers fewer names.
_PARAMETER = re.compile(r"([?&][^=&\s]*(?:secret|token|key)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


@command(
    "config",
    JSON,
    argument("--markdown", action="store_true", help="print what each setting means, as a table in Markdown"),
)
def _config(options: argparse.Namespace) -> None:
    """Print the settings in effect, secrets masked."""
    if options.markdown:
        print(settings_table())
        return
    settings = load_settings()
    shown = {variable(name): _shown(name, getattr(settings, name)) for name in type(settings).model_fields}
    lines = [f"{name}={'' if value is None else value}" for name, value in shown.items()]
    print(json.dumps(shown, indent=2) if options.json else "\n".join(lines))


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr):
        return MASK
    text = str(value)
    if name.endswith("_url") and "://" not in text:  # no URL: it may have its password anywhere
        return MASK
    return _PARAMETER.sub(rf"\1{MASK}", masked(text))


def settings_table() -> str:
    """The table in Markdown, one row for each setting in the order of the class."""
    return "\n".join([HEADER, *(_row(name, field) for name, field in Settings.model_fields.items())])


def _row(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias or variable(name)]
    unit, meaning = MEANINGS[name]
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
