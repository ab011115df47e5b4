"""`agentexec config`: the settings in effect, secrets masked, and the table of what they mean."""

from __future__ import annotations

import argparse
import json
import re
from importlib.resources import files
from typing import Any

from pydantic import SecretStr

from agentexec.cli.parsing import JSON, argument, command
from agentexec.config import load_settings, variable
from agentexec.masking import MASK, masked

# In Markdown, one row for each setting. A test compares it with the settings.
TABLE = files("agentexec.cli") / "settings.md"
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
        print(TABLE.read_text("utf-8"), end="")
        return
    settings = load_settings()
    shown = {variable(name): _shown(name, getattr(settings, name)) for name in type(settings).model_fields}
    lines = [f"{name}={'' if value is None else value}" for name, value in shown.items()]
    print(json.dumps(shown, indent=2) if options.json else "\n".join(lines))


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, SecretStr) or (name.endswith("_url") and "://" not in value):
        return MASK  # what is no URL may have its password anywhere
    return _PARAMETER.sub(rf"\1{MASK}", masked(value))
