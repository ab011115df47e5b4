"""Reads the load that a module or a locustfile defines, in a process of its own.

    python -m harness.load.shape_reader MODULE NAME SEED ANSWER

ANSWER is the file of JSON to write. NAME is an `OpenShape`, which has a seed of its own, or stages.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from harness.errors import FOREIGN_ERRORS, HarnessError, UsageError, describe_error
from harness.load.planned_load import load_value
from harness.load.thresholds import thresholds_in


def read(module: str, name: str, seed: int) -> dict[str, Any]:
    """The load of a module, and its thresholds; raises `UsageError`."""
    folder, imported = Path.cwd(), module
    if module.endswith(".py"):  # as Locust imports a locustfile
        folder, imported = Path(module).absolute().parent, Path(module).stem
    sys.path.insert(0, str(folder))
    try:
        found = importlib.import_module(imported)
    except HarnessError:
        raise
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"The load {module} cannot be imported ({describe_error(error)}); name a module or a file that can be."
        ) from None
    if not hasattr(found, name):
        raise UsageError(f"{module} has no {name}; name stages or an OpenShape of it.")
    thresholds = thresholds_in(found, module)
    return {**_value(getattr(found, name), seed), "thresholds": thresholds}


def _value(found: Any, seed: int) -> dict[str, Any]:
    if not isinstance(found, type):
        return load_value(found, seed)
    from harness.load.shape import OpenShape  # Locust patches this process

    if not issubclass(found, OpenShape):
        raise UsageError(f"{found.__name__} is no OpenShape of harness.load; name one, or stages.")
    try:
        schedule = found().schedule()
        return load_value(schedule.stages, schedule.seed, schedule.pacing)
    except HarnessError:
        raise
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"The shape {found.__name__} raised {describe_error(error)}; correct its module."
        ) from None


def main(module: str, name: str, seed: str, answer: str) -> None:
    """Write the load, or the sentence that says what is wrong with it."""
    try:
        value = read(module, name, int(seed))
    except HarnessError as error:
        value = {"error": str(error)}
    Path(answer).write_text(json.dumps(value), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
