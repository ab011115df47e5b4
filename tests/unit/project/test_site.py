"""The site of `nox -s docs` has each page once, and names pages and modules that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.documents import pages
from tests.house.sources import ROOT, name_of, sources

SITE = ROOT / "docs" / "site"
TOCTREE = re.compile(r"^\.\. toctree::\n(?:   :.*\n)*\n((?:   .+\n|\n)*)", re.MULTILINE)
MODULE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)


def listed(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The entries of the trees of a page, and the pages that each of them names."""
    for tree in TOCTREE.findall(f"{page.read_text('utf-8')}\n"):
        for entry in tree.split():
            pattern = entry[1:] if entry.startswith("/") else f"{SITE.relative_to(ROOT)}/{entry}"
            found = sorted(path for ending in (".md", ".rst") for path in ROOT.glob(f"{pattern}{ending}"))
            yield entry, [str(path.relative_to(ROOT)) for path in found]


def test_each_page_is_in_one_tree_of_the_site() -> None:
    named = [page for _, found in listed(SITE / "index.rst") for page in found]
    api = [str(path.relative_to(ROOT)) for path in SITE.glob("api/*.rst")]
    assert sorted(named) == sorted([*pages(), *api])


def test_each_entry_of_a_tree_names_a_page() -> None:
    assert [entry for entry, found in listed(SITE / "index.rst") if not found] == []


def test_the_modules_of_the_api_are_there() -> None:
    modules = {name_of(path) for path in sources()}
    named = [name for page in SITE.glob("api/*.rst") for name in MODULE.findall(page.read_text("utf-8"))]
    assert len(named) > 10
    assert set(named) <= modules
