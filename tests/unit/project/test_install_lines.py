"""The lines by which users install from a checkout or a Git URL name distributions and extras that there are."""

import re
import shlex
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.house.documents import pages
from tests.house.sources import ROOT

LINE = re.compile(r"^(?:\$ )?pip install (.+?)(?:\s+#.*)?$", re.MULTILINE)
GIT = "git+$GIT_URL"


@cache
def project(folder: str) -> dict[str, Any]:
    from nox.project import load_toml

    found: dict[str, Any] = load_toml(ROOT / folder / "pyproject.toml")["project"]
    return found


def unknown(line: str) -> list[str]:
    """The words of a line that install nothing of this project."""
    return [word for word in shlex.split(line) if word != "-e" and not is_there(word)]


def is_there(word: str) -> bool:
    if " @ " not in word:
        folder, _, extras = word.rstrip("]").partition("[")
        name, chosen = None, set(filter(None, extras.split(",")))
    else:
        url = Requirement(word.replace("$GIT_URL", "https://example.org/x.git"))
        place, _, folder = word.partition(" @ ")[2].partition("#subdirectory=")
        if place != GIT:
            return False
        name, chosen = url.name, url.extras
    if not (ROOT / folder / "pyproject.toml").is_file():
        return False
    found = project(folder)
    return name in (None, found["name"]) and chosen <= found.get("optional-dependencies", {}).keys()


@pytest.mark.parametrize("page", sorted({page for page in pages() if "pip install" in pages()[page]}))
def test_every_line_of_a_page_installs_what_there_is(page: str) -> None:
    assert {line: unknown(line) for line in LINE.findall(pages()[page]) if unknown(line)} == {}


def test_the_readme_has_lines_for_a_checkout_and_for_a_git_url() -> None:
    lines = LINE.findall(pages()["README.md"])
    assert sum(GIT in line for line in lines) == 2
    assert sum("agentexec" in line and GIT not in line for line in lines) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        "./none",
        "'.[none]'",
        "agentexec-harness",
        f'"agentexec-reference @ {GIT}"',
        f'"agentexec-harness[none] @ {GIT}"',
        f'"agentexec-harness @ {GIT}#subdirectory=agentexec"',
    ],
)
def test_a_line_that_installs_something_else_is_found(wrong: str) -> None:
    assert len(unknown(wrong)) == 1
