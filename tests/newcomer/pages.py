"""docs/production as steps: the files that a reader saves and the commands that a reader enters, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.environment import ROOT
from tests.support.guide import safe_forms

PAGES = ROOT / "docs" / "production"
ORDER = re.findall(r"^\d+\. \[[^]]+\]\((\w+\.md)\)", (PAGES / "README.md").read_text("utf-8"), re.MULTILINE)
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<line>.*<<'(?P<end>\w+)'\n(?:.*\n)*?(?P=end)$|.*)", re.MULTILINE)
END_OF_FILE = "END-OF-FILE"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command of a page or the one that saves a file of it, and the lines that the page shows below it."""

    page: str
    line: str
    shown: str = ""

    def fits(self, output: str) -> bool:
        """Whether the output is as the page shows it, where `…` stands for anything; no lines allow any output."""
        pattern = ".*".join(map(re.escape, self.shown.strip().split("…")))
        return not self.shown.strip() or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def fences(page: str) -> Iterator[re.Match[str]]:
    """The blocks of a page."""
    return FENCE.finditer((PAGES / page).read_text("utf-8"))


def steps(*, fresh: bool) -> list[Step]:
    """Every step of the path; those that install packages and start servers are there only for a `fresh` machine.

    They are the blocks of the kind `sh`, in which each line is a command.
    """
    return [step for page in ORDER for block in fences(page) for step in _steps(page, block, fresh)]


def _steps(page: str, block: re.Match[str], fresh: bool) -> Iterator[Step]:
    text = block["text"]
    if block["file"]:
        yield _saved(page, block["file"], text)
        if block["file"] == ".env":
            # The page names it, and another one has it.
            yield _saved(page, "roles.sql", safe_forms()["Roles and grants"])
    elif block["kind"] == "console":
        found = list(COMMAND.finditer(text))
        ends = [*(one.start() for one in found[1:]), len(text)]
        for one, end in zip(found, ends, strict=True):
            yield Step(page=page, line=one["line"], shown=text[one.end() : end])
    elif block["kind"] == "sh" and fresh:
        for line in text.splitlines():
            yield Step(page=page, line=line)


def _saved(page: str, path: str, text: str) -> Step:
    folder = path.rpartition("/")[0] or "."
    line = f"mkdir -p {folder} && cat > {path} <<'{END_OF_FILE}'\n{text}{END_OF_FILE}"
    return Step(page=page, line=line)
