"""Import a pool by its reference."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType
from zipimport import zipimporter

from agentexec.errors import AgentexecError, ConfigurationError
from agentexec.text import summary
from agentexec.worker.pool import Pool, running_is_forbidden
from agentexec.worker.reference import PoolReference

# The name a script is imported under, so that its `if __name__ == "__main__"` part does not run.
MAIN_ALIAS = "__agentexec_main__"


class ImportFailed(ConfigurationError):
    """The module of a pool cannot be imported; its cause is the error of the module."""


def load_pool(reference: PoolReference) -> Pool:
    """Import the pool.

    Raises `ImportFailed` if its module cannot be imported, and `ConfigurationError` if it starts the pool while it is
    imported, or if the name holds something else.
    """
    where = reference.path or reference.module or ""
    try:
        with running_is_forbidden():
            module = _import_path(where) if reference.path else importlib.import_module(where)
    except AgentexecError as error:
        raise ConfigurationError(str(error)) from error
    except SystemExit as error:
        raise ImportFailed(
            f"{where} ends the process while it is imported; put what ends it under "
            '`if __name__ == "__main__":`, since every worker imports the module.'
        ) from error
    except Exception as error:
        raise ImportFailed(
            f"{where} cannot be imported ({summary(error)}); correct it, or run the pool where it can be imported."
        ) from error
    pool = getattr(module, reference.attribute, None)
    if pool is None:
        raise ConfigurationError(
            f"{where}:{reference.attribute} is not an agentexec Pool: there is no such variable after the import; "
            'make the pool outside of functions and of `if __name__ == "__main__":`, since every worker imports it.'
        )
    if not isinstance(pool, Pool):
        raise ConfigurationError(
            f"{where}:{reference.attribute} is {type(pool).__name__}, not an agentexec Pool; "
            "name the variable that holds it."
        )
    return pool


def _import_path(path: str) -> ModuleType:
    """Import a script, or the `__main__` module of a zip file; raises what it raises."""
    module = sys.modules[MAIN_ALIAS] = ModuleType(MAIN_ALIAS)
    module.__file__ = path
    importer = pkgutil.get_importer(path)
    code: CodeType | None
    if isinstance(importer, zipimporter):
        code = importer.get_code("__main__")
    else:
        loader = SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader
        code = loader(MAIN_ALIAS, path).get_code(MAIN_ALIAS)
    assert code is not None  # None is for modules without Python code
    exec(code, module.__dict__)  # noqa: S102 - as the interpreter does with the script that it is given
    return module
