"""What each means reaches in the implementation without a mutant: the tests and schedules that can show a mutant."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from agentexec.queue.redis_queue import SCRIPTS
from tests.mutants.line_trace import LineTrace
from tests.mutants.means import CONTRACT, SIMULATION
from tests.mutants.mutate import Mutant
from tests.mutants.sources import PACKAGES
from tests.planted.edits import function_at

Line = tuple[str, int]


def modules() -> dict[str, str]:
    """The name of each mutated module, by its file."""
    names = [
        info.name
        for package in PACKAGES
        for info in pkgutil.iter_modules(import_module(package).__path__, f"{package}.")
    ]
    return {str(import_module(name).__file__): name for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """The tests, schedules or the one run of a means, and for each line a mask of those that reach it."""

    units: Sequence[str]
    masks: Mapping[Line, int]

    @classmethod
    def of(cls, trace: LineTrace) -> Reach:
        """What a trace saw."""
        masks: dict[Line, int] = defaultdict(int)
        for number, lines in enumerate(trace.reached.values()):
            for line in lines:
                masks[line] |= 1 << number
        return cls(units=[*trace.reached], masks=masks)

    def of_lines(self, module: str, lines: Iterable[int]) -> list[str]:
        """The units that reach one of these lines."""
        mask = 0
        for line in lines:
            mask |= self.masks.get((module, line), 0)
        return [unit for number, unit in enumerate(self.units) if mask >> number & 1]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        masks = [[module, line, hex(mask)] for (module, line), mask in sorted(self.masks.items())]
        path.write_text(json.dumps({"units": self.units, "masks": masks}), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Reach:
        """Read what `save` wrote."""
        value = json.loads(path.read_text("utf-8"))
        masks = {(module, line): int(mask, 16) for module, line, mask in value["masks"]}
        return cls(units=value["units"], masks=masks)


def able(means: str, mutant: Mutant, reach: Reach) -> bool:
    """Whether a means runs the changed text at all: of a function, one of its lines."""
    if mutant.part in {"Lua", "SQL"}:
        lua = mutant.part == "Lua"
        assert not lua or mutant.where.removeprefix("lua/").removesuffix(".lua") in ("common", *SCRIPTS)
        return means in ({CONTRACT, "queue machine"} if lua else {CONTRACT, SIMULATION}) | {
            "activity machine"
        }
    function = function_at(mutant.where)
    first = function.__code__.co_firstlineno
    own, _ = inspect.getsourcelines(function)
    return bool(reach.of_lines(function.__module__, range(first + 1, first + len(own))))


def units_of(mutant: Mutant, reach: Reach) -> list[str]:
    """The tests or schedules that reach the changed lines; all of them for a script or a statement."""
    if mutant.part in {"Lua", "SQL"}:
        kind = {"Lua": "fakeredis", "SQL": "sqlite"}[mutant.part]
        return [unit for unit in reach.units if "::" not in unit or kind in unit]
    return reach.of_lines(function_at(mutant.where).__module__, _lines_of(mutant))


def _lines_of(mutant: Mutant) -> set[int]:
    """The lines of the file in which the mutant is, with the rest of its statement."""
    function = function_at(mutant.where)
    first = function.__code__.co_firstlineno
    last = mutant.line + mutant.before.count("\n")
    changed = range(mutant.line, last + 1)
    around = next(
        (lines for lines in _statements(mutant.where) if lines.start <= mutant.line and last < lines.stop),
        changed,
    )
    return {first - 1 + line for line in (*changed, *around)}


@cache
def _statements(where: str) -> Sequence[range]:
    """The lines of each statement of a function without those of its body, the shortest first; 1 is its first line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function_at(where))))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            assert node.end_lineno is not None
            body = getattr(node, "body", None)
            end = max(node.lineno + 1, body[0].lineno) if isinstance(body, list) else node.end_lineno + 1
            found.append(range(node.lineno, end))
    return sorted(found, key=len)
