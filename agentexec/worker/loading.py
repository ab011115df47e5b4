"""Import a pool by its reference."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from agentexec.errors import ConfigurationError
from agentexec.worker.pool import Pool
from agentexec.worker.reference import PoolReference

# The name a script is imported under, so that its `if __name__ == "__main__"` part does not run.
MAIN_ALIAS = "__agentexec_main__"


def load_pool(reference: PoolReference) -> Pool:
    """Import the pool; raises `ConfigurationError` if the name holds something else, and what the import raised."""
    module = (
        _import_path(reference.path) if reference.path else importlib.import_module(reference.module or "")
    )
    pool = getattr(module, reference.attribute, None)
    if not isinstance(pool, Pool):
        raise ConfigurationError(
            f"{reference.path or reference.module}:{reference.attribute} is {type(pool).__name__}, "
            "not an agentexec Pool; name the variable that holds it."
        )
    return pool


def _import_path(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MAIN_ALIAS, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_ALIAS] = module
    spec.loader.exec_module(module)
    return module
