"""Every public method has a docstring, here or in the protocol or base class that declares it."""

import pytest

from tests.house.docstrings import undocumented_methods
from tests.house.sources import sources


def test_every_public_method_is_documented() -> None:
    assert undocumented_methods(sources()) == []


PROTOCOL = '''
from typing import Protocol
class Queue(Protocol):
    """A queue."""
    @property
    def name(self):
        """Its name."""
    def push(self):
        """Add a task."""
    def pop(self):
        """Take a task."""
'''
BASE = '''
class Base:
    """A base."""
    def start(self):
        """Begin."""
    def stop(self): ...
'''


@pytest.mark.parametrize(
    ("source", "undocumented"),
    [
        ("class A:\n    def run(self): ...", ["m.A.run"]),
        ("class A:\n    async def run(self): ...", ["m.A.run"]),
        ("class A:\n    @property\n    def name(self): ...", ["m.A.name"]),
        ('class A:\n    def run(self):\n        """Run."""', []),
        ("class A:\n    def _run(self): ...\n    def __len__(self): ...", []),
        ("class _A:\n    def run(self): ...", []),
        ("def f():\n    class A:\n        def run(self): ...", []),
        ("class A:\n    class B:\n        def run(self): ...", ["m.A.B.run"]),
        ("class A(Base):\n    def start(self): ...", []),
        ("class A(Base):\n    def stop(self): ...", ["m.A.stop"]),
        ("class A(Base): ...\nclass B(A):\n    def start(self): ...", []),
        ("import base\nclass A(base.Base):\n    def start(self): ...", []),
        ("class A(Queue):\n    def pop(self): ...", []),
        ("class A:\n    def push(self): ...\n    def pop(self): ...", []),
        ("class A:\n    def push(self): ...\n    def pop(self): ...\n    def drop(self): ...", ["m.A.drop"]),
        # It has not all methods of the protocol, so it does not implement it.
        ("class A:\n    def pop(self): ...", ["m.A.pop"]),
        ("import asyncio\nclass A(asyncio.AbstractEventLoop):\n    def call_soon(self): ...", []),
        (
            "import asyncio\nclass A(asyncio.AbstractEventLoop):\n    def run_later(self): ...",
            ["m.A.run_later"],
        ),
    ],
)
def test_the_docstring_rule_on_examples(source: str, undocumented: list[str]) -> None:
    own = {"p.py": PROTOCOL, "base.py": BASE, "m.py": source}
    assert [name for name in undocumented_methods(own) if name.startswith("m.")] == undocumented


def test_a_declaration_has_to_be_documented_itself() -> None:
    assert undocumented_methods({"base.py": BASE}) == ["base.Base.stop"]
