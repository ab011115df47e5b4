"""Public methods without a docstring, except those whose contract stands in a protocol or base class.

A method needs no docstring of its own if its class inherits from a class of the repository that documents the method,
has every method of a protocol of the repository that documents it, or inherits it from the standard library. Private
names, magic methods and classes inside functions are left out, as by ruff's D102, which knows none of these exceptions.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from importlib import import_module

from tests.house.sources import imports_of, name_of

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class ClassText:
    """A class as its source shows it."""

    place: str
    public: bool
    bases: Set[str]
    methods: Set[str]
    properties: Set[str]
    documented: Set[str]

    @property
    def is_protocol(self) -> bool:
        """Whether the class is declared as a protocol."""
        return "typing.Protocol" in self.bases

    def implements(self, names: Set[str]) -> bool:
        """Whether it is a protocol of which a class with methods of these names has all; fields are not compared."""
        return self.is_protocol and self.methods - self.properties <= names


def undocumented_methods(texts: Mapping[str, str]) -> list[str]:
    """Public methods of `texts` (path to source) that have a docstring neither here nor where they are declared."""
    known: dict[str, list[ClassText]] = {}
    for path, text in texts.items():
        for name, found in _classes_of(path, text):
            known.setdefault(name, []).append(found)
    everything = [one for group in known.values() for one in group]
    return sorted(
        f"{one.place}.{method}"
        for one in everything
        if one.public
        for method in one.methods - one.documented - _contracts(one, known)
        if not method.startswith("_")
    )


def _contracts(one: ClassText, known: Mapping[str, list[ClassText]]) -> set[str]:
    """Methods whose contract stands in a base class, or in a protocol that the class implements."""
    family = [one, *_ancestors(one, known)]
    methods = set().union(*(member.methods for member in family))
    protocols = [p for group in known.values() for p in group if p.implements(methods)]
    found = {name for other in (*family, *protocols) if other is not one for name in other.documented}
    return found.union(*(_standard_methods(base) for member in family for base in member.bases))


def _ancestors(one: ClassText, known: Mapping[str, list[ClassText]]) -> Iterator[ClassText]:
    for base in one.bases:
        for found in known.get(base.rpartition(".")[2], ()):
            if found is not one:
                yield found
                yield from _ancestors(found, known)


def _standard_methods(base: str) -> set[str]:
    """Names that a base class of the standard library has."""
    module, _, name = base.rpartition(".")
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return set()
    return set(dir(getattr(import_module(module), name)))


def _classes_of(path: str, text: str) -> Iterator[tuple[str, ClassText]]:
    """The classes of a module, by their plain names."""
    module = name_of(path)
    whole_names = {name.rpartition(".")[2]: name for name in imports_of(text, module)}
    return _classes(ast.parse(text), module, whole_names, public=True)


def _classes(
    tree: ast.Module | ast.ClassDef, place: str, whole_names: Mapping[str, str], *, public: bool
) -> Iterator[tuple[str, ClassText]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            inner = f"{place}.{node.name}"
            shown = public and not node.name.startswith("_")
            methods = [part for part in node.body if isinstance(part, Function)]
            yield (
                node.name,
                ClassText(
                    place=inner,
                    public=shown,
                    bases={_base_name(base, whole_names) for base in node.bases},
                    methods={m.name for m in methods},
                    properties={m.name for m in methods if "property" in map(ast.unparse, m.decorator_list)},
                    documented={m.name for m in methods if ast.get_docstring(m) is not None},
                ),
            )
            yield from _classes(node, inner, whole_names, public=shown)


def _base_name(base: ast.expr, whole_names: Mapping[str, str]) -> str:
    """The dotted name of a base class, without type parameters."""
    plain = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
    first, dot, rest = plain.partition(".")
    return whole_names.get(first, first) + dot + rest
