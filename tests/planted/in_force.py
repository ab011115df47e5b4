"""Importing this puts the defect that `PLANTED_DEFECT` names in force, for good; without the variable there is none.

Also a plugin: `PLANTED_DEFECT=destructive-pop pytest -p tests.planted.in_force tests/conformance`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

from tests.planted.defects import EVERY

VARIABLE = "PLANTED_DEFECT"

_NAME = os.environ.get(VARIABLE)
# Kept: at its end the edits would be undone.
_for_good = EVERY[_NAME].planted() if _NAME else nullcontext()
_for_good.__enter__()
