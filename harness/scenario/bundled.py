"""The scenarios of the folder chaos/: the package `harness.chaos` of an installed harness, `chaos` in a checkout."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from harness.scenario.scenario import Scenario

_PACKAGE = "harness.chaos" if find_spec("harness.chaos") else "chaos"

SCENARIOS: Mapping[str, Scenario] = import_module(_PACKAGE).SCENARIOS
