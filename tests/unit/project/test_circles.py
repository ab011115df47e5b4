"""No import circles, by module or by folder."""

import pytest

from tests.house.circles import circles, folder_of, grouped, module_graph, top_folder_of
from tests.house.sources import sources


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(module_graph(sources())) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph = module_graph(sources())
    assert circles(grouped(graph, folder_of(sources()))) == []
    assert circles(grouped(graph, top_folder_of(sources()))) == []


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"p/a.py": "import p.b", "p/b.py": "import json"}, []),
        ({"p/a.py": "import p.b", "p/b.py": "from p import a"}, [["p.a", "p.b"]]),
        (
            {"p/a.py": "from . import b", "p/b.py": "from p.c import C", "p/c.py": "import p.a"},
            [["p.a", "p.b", "p.c"]],
        ),
        ({"p/a.py": "import p.b", "p/b.py": "def f():\n    import p.a"}, [["p.a", "p.b"]]),
        (
            {"p/a.py": "import p.b", "p/b.py": "if TYPE_CHECKING:\n    from p.a import A"},
            [["p.a", "p.b"]],
        ),
        # A module of a package may import its neighbours, and its `__init__` may import them all.
        ({"p/__init__.py": "from p.a import A", "p/a.py": "from p.b import B", "p/b.py": ""}, []),
        # But not the `__init__`, which imports it.
        ({"p/__init__.py": "from p.a import A", "p/a.py": "from p import B", "p/b.py": ""}, [["p", "p.a"]]),
        # An import from outside runs the `__init__` of the package: c -> p.b means c -> p, and p -> p.a -> c.
        (
            {"p/__init__.py": "import p.a", "p/a.py": "import c", "p/b.py": "", "c.py": "import p.b"},
            [["c", "p", "p.a"]],
        ),
    ],
)
def test_the_circle_rule_on_examples(texts: dict[str, str], found: list[list[str]]) -> None:
    assert circles(module_graph(texts)) == found


@pytest.mark.parametrize(
    ("texts", "by_folder", "by_top_folder"),
    [
        # Two folders that import each other by way of different modules are a circle of folders and none of modules.
        (
            {"p/x/a.py": "import p.y.a", "p/x/b.py": "", "p/y/a.py": "", "p/y/b.py": "import p.x.b"},
            [["p.x", "p.y"]],
            [["p.x", "p.y"]],
        ),
        # Modules at the top of a package stand for themselves.
        ({"p/__init__.py": "import p.x.a", "p/x/a.py": "import p.low", "p/low.py": ""}, [], []),
        (
            {"p/x/a.py": "import p.low", "p/low.py": "import p.x.b", "p/x/b.py": ""},
            [["p.low", "p.x"]],
            [["p.low", "p.x"]],
        ),
        # A nested folder is a separate folder, and a part of the outermost one.
        (
            {"p/x/a.py": "import p.x.in_.b", "p/x/c.py": "", "p/x/in_/b.py": "import p.x.c"},
            [["p.x", "p.x.in_"]],
            [],
        ),
        (
            {"p/x/in_/b.py": "import p.y.c", "p/x/a.py": "", "p/y/c.py": "import p.x.a"},
            [],
            [["p.x", "p.y"]],
        ),
    ],
)
def test_the_circle_rule_for_folders_on_examples(
    texts: dict[str, str], by_folder: list[list[str]], by_top_folder: list[list[str]]
) -> None:
    graph = module_graph(texts)
    assert circles(graph) == []
    assert circles(grouped(graph, folder_of(texts))) == by_folder
    assert circles(grouped(graph, top_folder_of(texts))) == by_top_folder
