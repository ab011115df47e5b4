"""The figures of the house and their limits: lines, modules at the top of a package, circles, repeated names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache

from tests.house.circles import circles, folder_of, grouped, module_graph
from tests.house.documents import code, long_lines, pages
from tests.house.public_names import repeated_class_names
from tests.house.sources import name_of, sources

# What to read to know how a task runs: agentexec's task, and these folders with their Lua scripts.
READING_PATH = (
    "agentexec/task.py",
    "agentexec/queue",
    "agentexec/store",
    "agentexec/producer",
    "agentexec/worker",
)
LONGEST_CODE_LINE = 120
COMMENT_FOR_A_TOOL = re.compile(r" *# (?:noqa|type: ignore).*$")

# The most that each figure may be. A limit is lowered whenever the figure allows it, and raised only for functions that
# users ask for: 9,000 and 5,000 lines before data, handlers, servers and deployments of every kind were in scope.
LIMITS = {
    "lines of agentexec": 13_900,
    "lines of its reading path": 8_000,
    "lines of the longest module": 400,
    "modules at the top of agentexec": 8,
    "modules at the top of harness": 8,
    "import circles by module": 0,
    "import circles by folder": 0,
    "class names used twice": 0,
    "lines of Python past 120 characters": 0,
    "lines of Lua past 120 characters": 0,
    "lines of prose past 120 characters": 0,
}


@cache
def figures() -> dict[str, int]:
    """Every limited figure as it is now."""
    texts = sources()
    graph = module_graph(texts)
    return {
        "lines of agentexec": lines_below("agentexec"),
        "lines of its reading path": lines_below(*READING_PATH),
        "lines of the longest module": max(line_count(text) for text in texts.values()),
        "modules at the top of agentexec": len(modules_at_top("agentexec", texts)),
        "modules at the top of harness": len(modules_at_top("harness", texts)),
        "import circles by module": len(circles(graph)),
        "import circles by folder": len(circles(grouped(graph, folder_of(texts)))),
        "class names used twice": len(repeated_class_names(texts)),
        "lines of Python past 120 characters": _long_lines_of_code(".py"),
        "lines of Lua past 120 characters": _long_lines_of_code(".lua"),
        "lines of prose past 120 characters": sum(len(long_lines(text)) for text in pages().values()),
    }


def lines_below(*places: str) -> int:
    """Lines of the Python and Lua files at or below some places."""
    texts = {**sources(".py"), **sources(".lua")}
    return sum(
        line_count(text)
        for path, text in texts.items()
        if any(path == place or path.startswith(f"{place}/") for place in places)
    )


def lines_by_folder() -> dict[str, int]:
    """Lines of Python and Lua of each folder, without the folders below it."""
    found: Counter[str] = Counter()
    for path, text in {**sources(".py"), **sources(".lua")}.items():
        found[path.rpartition("/")[0]] += line_count(text)
    return dict(sorted(found.items()))


def modules_at_top(package: str, texts: Mapping[str, str]) -> list[str]:
    """Modules that lie directly in a package, `__init__` and `__main__` excepted."""
    names = [name_of(path) for path in texts if path.count("/") == 1 and path.startswith(f"{package}/")]
    return [name for name in names if "." in name and "__" not in name]


def line_count(text: str) -> int:
    """Lines of a file as `wc -l` counts them."""
    return text.count("\n")


def long_code_lines(text: str) -> int:
    """How many lines of a Python or Lua file are too long; a comment for a tool at the end of a line is left out."""
    return sum(len(COMMENT_FOR_A_TOOL.sub("", line)) > LONGEST_CODE_LINE for line in text.splitlines())


def _long_lines_of_code(ending: str) -> int:
    return sum(long_code_lines(text) for path, text in code().items() if path.endswith(ending))
