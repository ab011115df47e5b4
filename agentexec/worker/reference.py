"""How a worker process finds the pool it works for: by importing it again, never by unpickling it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentexec.errors import ConfigurationError

if TYPE_CHECKING:
    from agentexec.worker.pool import Pool

MAIN_ALIAS = (
    "__agentexec_main__"  # the name a script is imported under, so that its `if __name__` part does not run
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolReference:
    """Where a pool can be imported from: a module, or a script that was run by its path."""

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
    def of(cls, pool: Pool) -> Self:
        """Find the module-level variable that holds the pool; raises `ConfigurationError` where there is
        none.
        """
        for name, module in list(sys.modules.items()):
            for attribute, value in list(getattr(module, "__dict__", {}).items()):
                if value is pool:
                    return cls._in(name, module, attribute)
        raise ConfigurationError(
            "Worker processes import the pool, so it must be a module-level variable, "
            "such as `pool = ax.Pool()` in tasks.py."
        )

    @classmethod
    def _in(cls, name: str, module: Any, attribute: str) -> Self:
        if name != "__main__":
            return cls(module=name, attribute=attribute)
        spec = getattr(module, "__spec__", None)
        if spec is not None:  # python -m package.module
            return cls(module=spec.name, attribute=attribute)
        file = getattr(module, "__file__", None)
        if file is None:
            raise ConfigurationError(
                "A pool made in an interactive session cannot be imported by its workers; put it into a file."
            )
        return cls(path=str(Path(file).resolve()), attribute=attribute)

    def load(self) -> Pool:
        """Import the pool; raises `ConfigurationError` where the name leads elsewhere, and whatever the
        import raised.
        """
        from agentexec.worker.pool import Pool

        module = _import_path(self.path) if self.path else importlib.import_module(self.module or "")
        pool = getattr(module, self.attribute, None)
        if not isinstance(pool, Pool):
            raise ConfigurationError(
                f"{self.path or self.module}:{self.attribute} is {type(pool).__name__}, not an agentexec Pool; "
                "name the variable that holds it."
            )
        return pool

    def to_json(self) -> str:
        """For the command line of a worker process; it holds no secret."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def _import_path(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(MAIN_ALIAS, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MAIN_ALIAS] = module
    spec.loader.exec_module(module)
    return module
