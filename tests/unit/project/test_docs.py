"""What the pages and comments name exists: files, sections, modules, tests; and their lines are not too long."""

import tomllib

import pytest

from tests.house.documents import (
    Repository,
    anchors,
    code,
    files,
    long_lines,
    pages,
    pages_named_in_code,
)
from tests.house.sources import ROOT

# To be removed; a test fails when one of them is gone.
KNOWN: dict[str, list[str]] = {}


def repository() -> Repository:
    """The real one; names of entry point groups look like modules and are none, and a wheel has folders renamed."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = pyproject["project"]["entry-points"]
    renamed = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"].values()
    others = {*groups, *(folder.replace("/", ".") for folder in renamed)}
    return Repository({**dict.fromkeys(files(), ""), **code(), **pages()}, other_names=others)


def test_what_a_page_names_exists() -> None:
    real = repository()
    found = {page: real.dangling(page) for page in pages()}
    assert {page: names for page, names in found.items() if names} == KNOWN


def test_the_pages_that_code_names_exist() -> None:
    examples = "tests/unit/project/test_docs.py"  # names pages that do not exist
    texts = {path: text for path, text in code().items() if path != examples}
    assert pages_named_in_code(texts, files()) == {}


EXAMPLE = Repository(
    {
        "README.md": "# Top\n\n## A `b`, and c!\n\n## Twice\n\n## Twice\n",
        "docs/howto/run.md": "# Run\n",
        "agentexec/__init__.py": "from agentexec.pool import Pool\n",
        "agentexec/pool.py": "LIMIT = 1\nclass Pool:\n    size: int = 1\n    def run(self): ...\n",
        "tests/unit/test_pool.py": "def test_a_pool_runs() -> None: ...\n",
    },
    other_names={"agentexec.scenarios"},
)


@pytest.mark.parametrize(
    "right",
    [
        "[a](../../README.md)",
        "[a](run.md#run)",
        "[a](#run)",
        "[a](../../README.md#a-b-and-c)",
        "[a](../../README.md#twice-1)",
        "[a](https://example.org/none.md)",
        "[a](../../agentexec)",
        "`agentexec/pool.py`",
        "`agentexec/`",
        "`pool.py`",
        "`unit/test_pool.py`",
        "`agentexec.pool`",
        "`agentexec.pool.Pool.run()`",
        "`agentexec.pool.Pool.size`",
        "`agentexec.pool.LIMIT`",
        "`agentexec.Pool`",
        "`agentexec.scenarios`",
        "`tests/unit/test_pool.py::test_a_pool_runs`",
        "`test_a_pool_runs`",
        "`agentexec worker app:pool`",
        "`agentexec-harness/redis`",
        "`agentexec_pool`",
        "```python\nfrom agentexec.pool import Pool, LIMIT\nimport agentexec\n```",
        "```\n[a](none.md)\n`agentexec/none.py`\n```",
    ],
)
def test_a_page_may_name_what_exists(right: str) -> None:
    assert dangling(right) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[a](none.md)", "none.md"),
        ("[a](run.md#walk)", "run.md#walk"),
        ("[a](#walk)", "#walk"),
        ("[a](../../README.md#twice-2)", "../../README.md#twice-2"),
        ("![a](none.png)", "none.png"),
        ("`agentexec/none.py`", "agentexec/none.py"),
        ("`agentexec/none/`", "agentexec/none/"),
        ("`none.py`", "none.py"),
        ("`none.md`", "none.md"),
        ("`agentexec.none`", "agentexec.none"),
        ("`agentexec.pool.Pool.walk()`", "agentexec.pool.Pool.walk()"),
        ("`tests/unit/test_pool.py::test_none`", "tests/unit/test_pool.py::test_none"),
        ("`test_none`", "test_none"),
        ("```python\nfrom agentexec.pool import Queue\n```", "agentexec.pool.Queue"),
        ("```sh\npython -m agentexec.none\n```", "agentexec.none"),
    ],
)
def test_a_page_may_not_name_what_does_not_exist(text: str, name: str) -> None:
    assert dangling(text) == [name]


def dangling(text: str) -> list[str]:
    page = "docs/howto/run.md"
    whole = Repository({**EXAMPLE.texts, page: f"# Run\n{text}\n"}, other_names=EXAMPLE.other_names)
    return whole.dangling(page)


def test_a_page_that_a_comment_names_and_that_is_not_there_is_found() -> None:
    spec, there = "SPEC.md", "docs/a/b.md"
    texts = {"a.py": f"# See {spec} and {there}, and page.md of the test."}
    assert pages_named_in_code(texts, {there}) == {"a.py": [spec]}


def test_headings_in_fenced_code_are_no_anchors() -> None:
    assert anchors("# A\n```sh\n# B\n```\n## C [d](e.md)\n") == {"a", "c-d"}


def test_tables_code_and_bare_links_may_have_long_lines() -> None:
    long = "x" * 121
    links = f"- [a](https://{long})\n[a]: https://{long}\nhttps://{long}"
    assert long_lines(f"| {long} |\n```\n{long}\n```\n{links}\n") == []
    assert long_lines(f"short\n{long}\n- [a](https://{long}) and more\n") == [2, 3]
