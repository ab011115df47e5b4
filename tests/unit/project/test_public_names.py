"""The public names of packages, the names of classes, and the purpose that each module states."""

import ast
import subprocess
import sys

import pytest

from tests.house.public_names import repeated_class_names, trouble_with_exports
from tests.house.sources import is_package, name_of, sources, sources_and_adapters


def test_every_package_lists_its_public_names_in_order() -> None:
    trouble = {name_of(p): trouble_with_exports(text) for p, text in sources().items() if is_package(p)}
    assert {package: what for package, what in trouble.items() if what} == {}


@pytest.mark.parametrize(
    ("source", "right"),
    [
        ('"""Doc."""', True),
        ("import os", True),
        ("from agentexec.pool import Pool", False),
        ("from .pool import Pool", False),
        ('from agentexec.pool import Pool, Task\n__all__ = ["Pool", "Task"]', True),
        ('from agentexec.pool import Pool, Task\n__all__ = ["Task", "Pool"]', False),
        ('from agentexec.pool import LIMIT, Pool, run\n__all__ = ["LIMIT", "Pool", "run"]', True),
        ('from agentexec.pool import Pool\n__all__ = ["Pool", "Pool"]', False),
        ('__all__ = ["Pool"]\n__all__ = ["Pool"]', False),
    ],
)
def test_the_rule_for_public_names_on_examples(source: str, right: bool) -> None:
    assert (trouble_with_exports(source) is None) is right


def test_a_new_interpreter_lists_the_public_names_of_agentexec() -> None:
    listed = "import agentexec; print(set(agentexec.__all__) <= set(dir(agentexec)))"
    assert subprocess.check_output([sys.executable, "-c", listed], text=True) == "True\n"


def test_no_two_classes_have_the_same_name() -> None:
    assert repeated_class_names(sources_and_adapters()) == {}


@pytest.mark.parametrize(
    ("texts", "repeated"),
    [
        ({"p/a.py": "class A: ...", "p/b.py": "class B: ..."}, {}),
        ({"p/a.py": "class A: ...", "q/b.py": "class A: ..."}, {"A": ["p.a", "q.b"]}),
        ({"p/a.py": "class _A: ...", "q/b.py": "class _A: ..."}, {}),
        (
            {"p/a.py": "class A:\n    class B: ...", "q/b.py": "def f():\n    class B: ..."},
            {"B": ["p.a", "q.b"]},
        ),
    ],
)
def test_the_rule_for_class_names_on_examples(texts: dict[str, str], repeated: dict[str, list[str]]) -> None:
    assert repeated_class_names(texts) == repeated


def test_every_module_states_its_purpose() -> None:
    assert [path for path, text in sources().items() if not ast.get_docstring(ast.parse(text))] == []
