"""The scenarios of the folder chaos/: the package `harness.chaos` of an installed harness, `chaos` in a checkout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import harness
from harness.scenario.scenario import Scenario

_NAME, _FOLDER = "harness.chaos", "chaos"


def _package() -> ModuleType:
    """The package with the scenarios of this harness, also if the user has another module `chaos`."""
    if find_spec(_NAME) is not None:
        return import_module(_NAME)
    init = Path(harness.__file__).parents[1] / _FOLDER / "__init__.py"
    found = find_spec(_FOLDER)
    if found is not None and found.origin is not None and Path(found.origin).resolve() == init.resolve():
        return import_module(_FOLDER)
    spec = spec_from_file_location(_NAME, init)
    assert spec is not None, "it is a Python file"
    assert spec.loader is not None, "it is a Python file"
    module = sys.modules[_NAME] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCENARIOS: Mapping[str, Scenario] = _package().SCENARIOS
