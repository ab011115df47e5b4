"""JSON documents in files that a user names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UsageError


def read_json(path: Path, remedy: str, *, parse_float: Callable[[str], Any] = float) -> Any:
    """The document in a file, in any encoding of Unicode; raises `UsageError` with the remedy if there is none."""
    try:
        return json.loads(path.read_bytes(), parse_float=parse_float)
    except OSError as error:
        why = str(error.strerror)
    except RecursionError:
        why = "it is not JSON that can be read (nested too deep)"
    except ValueError as error:
        why = f"it is not JSON ({error})"
    raise UsageError(f"{path} cannot be read: {why}; {remedy}")
