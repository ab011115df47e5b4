"""Where a worker process finds its pool: a name to import, never a pickled object."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agentexec.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolReference:
    """Where a pool can be imported from: a module, or a script that was run by its path. It holds no secret."""

    attribute: str
    module: str | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `package.module:attribute`; raises `ConfigurationError` for anything else."""
        module, colon, attribute = text.partition(":")
        if not colon or not module or not attribute:
            raise ConfigurationError(f"{text!r} does not name a pool; write it as package.module:pool.")
        return cls(module=module, attribute=attribute)

    @classmethod
    def of(cls, pool: object) -> Self:
        """Find the module-level variable that holds the pool; raises `ConfigurationError` if there is none."""
        interactive = False
        for name, module in list(sys.modules.items()):
            for attribute, value in list(getattr(module, "__dict__", {}).items()):
                if value is pool and (found := cls._in(name, module, attribute)) is not None:
                    return found
                interactive |= value is pool
        if interactive:
            raise ConfigurationError(
                "A pool made in an interactive session cannot be imported by its workers; put it into a file."
            )
        raise ConfigurationError(
            "Worker processes import the pool, so it must be a module-level variable, "
            "such as `pool = ax.Pool()` in tasks.py."
        )

    @classmethod
    def _in(cls, name: str, module: Any, attribute: str) -> Self | None:
        """None for a module that has no file: an interactive session, or `python -c`."""
        if name != "__main__":
            return cls(module=name, attribute=attribute)
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        if spec is not None and spec.name != "__main__":  # python -m package.module
            return cls(module=spec.name, attribute=attribute)
        if file is None:
            return None
        path = Path(file).resolve()
        # The __main__.py of a zip file that was run; that of a folder is a file.
        return cls(path=str(path if path.exists() else path.parent), attribute=attribute)
