"""`agentexec config`: the settings in effect, without their secrets."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from agentexec.cli import exits
from agentexec.config import load_settings

_PASSWORD = re.compile(
    r"(://[^:/@\s]*):\S*@"
)  # up to the last @: a password may hold one that nobody encoded
_PARAMETER = re.compile(r"([?&][^=&\s]*(?:password|secret|token|key)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"password|secret|token|api_key", re.IGNORECASE)


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    config = commands.add_parser("config", help="print the settings in effect, secrets masked")
    config.add_argument("--json", action="store_true", help="print JSON")
    config.set_defaults(run=_config)


def _config(options: argparse.Namespace) -> int:
    settings = load_settings()
    shown = {
        variable(name, field): _shown(name, getattr(settings, name))
        for name, field in type(settings).model_fields.items()
    }
    if options.json:
        print(json.dumps(shown, indent=2))
    else:
        for name, value in shown.items():
            print(f"{name}={'' if value is None else value}")
    return exits.OK


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting, the first one where there are several."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0] if isinstance(alias.choices[0], str) else None
    return alias if isinstance(alias, str) else name.upper()


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if "://" in text:
        return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
    return "***" if _SECRET_NAME.search(name) else text
