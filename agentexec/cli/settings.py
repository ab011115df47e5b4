"""`agentexec config`: the settings in effect, secrets masked."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from pydantic import SecretStr

from agentexec.cli.parsing import JSON, argument, command
from agentexec.cli.settings_table import settings_table
from agentexec.config import load_settings, variable
from agentexec.masking import MASK, masked

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
    if options.json:
        print(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        print(f"{name}={'' if value is None else value}")


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, SecretStr):
        return MASK
    text = str(value)
    if name.endswith("_url") and "://" not in text:  # no URL: it may have its password anywhere
        return MASK
    return _PARAMETER.sub(rf"\1{MASK}", masked(text))
