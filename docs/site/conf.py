"""The site: every page as it is on a forge, and the API reference from docstrings. `nox -s docs` builds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agentexec.api  # noqa: F401 - autodoc sets TYPE_CHECKING while it imports, and FastAPI cannot be imported so

project = "agentexec-harness"
author = "the authors of agentexec-harness"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The sources are those of the whole checkout, so that links between its folders stay as they are.
root_doc = "docs/site/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/*/*.md",
    "docs/site/*.rst",
    "docs/site/api/*.rst",
    "tests/README.md",
]
exclude_patterns = [".*", "agentexec", "build", "harness", "loadtests", "mutants", "reports"]
# Pages link to headings by the names that a forge gives them.
myst_heading_anchors = 6
# Pygments knows no mermaid, and an example may leave something out: both are shown as plain text.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "agentexec-harness"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": False}

START = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/site/index.html">\n'


def as_rst(lines: list[str]) -> Iterator[str]:
    """A docstring of this project, which is text with code in backticks and indented examples, as reStructuredText."""
    inside = bullet = False
    for line in lines:
        indented = line.startswith("  ") and not bullet
        if indented and not inside:
            yield from ("", "::", "")
        if inside and line and not indented:
            yield ""
        inside = indented or (inside and not line)
        bullet = line.startswith("- ") or (bullet and bool(line))
        yield line if inside else re.sub(r"`([^`]*)`|([*_|\\])", _escaped, line)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[2]}" if found[2] else f"``{found[1].strip()}``"


def read_docstring(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Of a module only the first sentence: the rest is for those who read its source."""
    lines[:] = list(as_rst(lines[:1] if what == "module" else lines))


def write_start(app: Any, error: Exception | None) -> None:
    """The site begins at its root."""
    if error is None:
        Path(app.outdir, "index.html").write_text(START, "utf-8")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("build-finished", write_start)
