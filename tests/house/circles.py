"""Import circles, by module and by folder.

An import of a module from outside of its package also runs the `__init__` of the package, so it counts as an import of
both. Imports in functions and under TYPE_CHECKING count like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set

from tests.house.sources import imports_of, is_package, name_of

Graph = Mapping[str, Set[str]]


def module_graph(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules of `texts` (path to source) that each of them imports, by dotted name."""
    packages = {name_of(path) for path in texts if is_package(path)}
    names = {name_of(path) for path in texts}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for path, text in texts.items():
        name = name_of(path)
        for imported in imports_of(text, name, package=is_package(path)):
            graph[name] |= set(_modules_run(imported, name, names, packages))
        graph[name].discard(name)
    return graph


def _modules_run(imported: str, importer: str, names: Set[str], packages: Set[str]) -> Iterator[str]:
    """The module that an imported name stands for, and the packages around it that the importer is not in."""
    ways = [imported, *_parents(imported)]
    target = next((name for name in ways if name in names), None)
    if target is not None:
        yield target
        yield from (p for p in _parents(target) if p in packages and not f"{importer}.".startswith(f"{p}."))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def grouped(graph: Graph, group_of: Callable[[str], str]) -> dict[str, set[str]]:
    """The same graph between groups of modules."""
    result: dict[str, set[str]] = {group_of(name): set() for name in graph}
    for name, targets in graph.items():
        group = group_of(name)
        result[group] |= {group_of(target) for target in targets} - {group}
    return result


def folder_of(texts: Mapping[str, str]) -> Callable[[str], str]:
    """The folder of a module, for modules in folders of a package; the modules at its top stand for themselves."""
    packages = {name_of(path) for path in texts if is_package(path)}

    def folder(name: str) -> str:
        inner = name if name in packages else name.rpartition(".")[0]
        return inner if "." in inner else name

    return folder


def top_folder_of(texts: Mapping[str, str]) -> Callable[[str], str]:
    """Like `folder_of`, with nested folders counted as part of the outermost one."""
    folder = folder_of(texts)
    return lambda name: ".".join(folder(name).split(".")[:2])


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that import each other, directly or by way of others (strongly connected, two or more)."""
    reach = {node: _reachable(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in reach[node] if node in reach[other]))
        for node in graph
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += graph[node]
    return found
