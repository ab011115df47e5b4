"""What the pages of the project name, and whether it exists: files, sections, modules and their names, tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from posixpath import dirname, normpath

from tests.house.sources import PACKAGES, ROOT

FOLDERS = (*PACKAGES, "tests", "docs", "examples")
CODE_FOLDERS = (*PACKAGES, "tests", "examples")
# A test writes files of its own and names them, so a page is recognized in code only where it looks like one of ours.
PAGE_IN_CODE = re.compile(r"(?<![\w/])(?:docs/[\w./-]+|[A-Z]{4,})\.md\b")
LONGEST_LINE = 120


@cache
def pages() -> Mapping[str, str]:
    """The text of each page, by its path below the root of the repository."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/*.md")]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(paths)}


@cache
def files() -> Set[str]:
    """Every file of the project, by its path below the root."""
    tops = [path.name for path in ROOT.iterdir() if path.is_file()]
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    kept = (str(path.relative_to(ROOT)) for path in below)
    return {*tops, *(path for path in kept if "__pycache__" not in path)}


@cache
def code() -> Mapping[str, str]:
    """The text of every Python and Lua file below the folders, by path."""
    kept = [path for path in files() if path.startswith(CODE_FOLDERS) and path.endswith((".py", ".lua"))]
    return {path: (ROOT / path).read_text("utf-8") for path in sorted(kept)}


class Repository:
    """The files that a page can name. The real one by default; tests of the rules bring their own."""

    def __init__(self, texts: Mapping[str, str], *, other_names: Set[str] = frozenset()) -> None:
        self.texts = texts
        self.other_names = other_names
        self.folders = {parent for path in texts for parent in _folders_above(path)}
        self.tests = {
            name
            for path, text in texts.items()
            if path.startswith("tests/") and path.endswith(".py")
            for name in re.findall(r"\b(test_\w+)", f"{text} {Path(path).stem}")
        }

    def dangling(self, page: str) -> list[str]:
        """What a page names and the repository has not."""
        text = self.texts[page]
        links = [target for target in _links(text) if not self._has_link(page, target)]
        spans = [span for span in _code_spans(text) if not self._has_code(span)]
        names = [name for name in _names_in_fences(text) if not self._has_dotted(name)]
        return sorted({*links, *spans, *names})

    def _has_link(self, page: str, target: str) -> bool:
        if re.match(r"[a-z]+:", target):
            return True
        path, _, anchor = target.partition("#")
        found = normpath(f"{dirname(page)}/{path}").lstrip("/") if path else page
        if found not in self.texts and found not in self.folders:
            return False
        return not anchor or anchor in anchors(self.texts.get(found, ""))

    def _has_code(self, span: str) -> bool:
        """Whether a span of code that names a file, a module or a test names one that there is; True for any other."""
        plain, _, test = span.partition("::")
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", plain):
            there = plain.rstrip("/") in self.folders or plain in self.texts
        elif re.fullmatch(r"[\w./-]+\.(?:py|lua|md)", plain):
            there = any(f"/{path}".endswith(f"/{plain}") for path in self.texts)
        elif name := re.match(rf"(?:{'|'.join(CODE_FOLDERS)})(?:\.\w+)+(?=$|\()", plain):
            there = self._has_dotted(name[0])
        else:
            there = not re.fullmatch(r"test_\w+", plain) or plain in self.tests
        return there and (not test or test in self.tests)

    def _has_dotted(self, name: str) -> bool:
        """Whether a dotted name is a module, or something that its source defines."""
        if name in self.other_names:
            return True
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            path = "/".join(parts[:end])
            text = self.texts.get(f"{path}.py", self.texts.get(f"{path}/__init__.py"))
            if text is not None:
                return _defines(ast.parse(text).body, parts[end:])
        return path in self.folders and len(parts) == 1


def _folders_above(path: str) -> Iterator[str]:
    while path := dirname(path):
        yield path


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether statements define the first name, and inside of it the next one."""
    if not names:
        return True
    first, *rest = names
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner) if name == first:
                return _defines(inner, rest)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == first:
                return not rest
            case ast.Assign(targets=targets) if first in map(ast.unparse, targets):
                return True
            case ast.AnnAssign(target=ast.Name(id=name)) if name == first:
                return True
            case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                if any(first == (alias.asname or alias.name) for alias in aliases):
                    return True
            case ast.If(body=inner, orelse=other) | ast.Try(body=inner, orelse=other):
                if _defines([*inner, *other], names):
                    return True
    return False


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _without_fences(text), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        times = found[slug] = found.get(slug, -1) + 1
        result.add(f"{slug}-{times}" if times else slug)
    return result


def long_lines(text: str, longest: int = LONGEST_LINE) -> list[int]:
    """Numbers of the lines of prose that are too long; tables, fenced code and lines of one link are left out."""
    return [
        number
        for number, line in enumerate(_without_fences(text).splitlines(), start=1)
        if len(line) > longest and not line.lstrip().startswith("|") and not _is_bare_link(line)
    ]


def _is_bare_link(line: str) -> bool:
    return (
        re.fullmatch(r"[\s>*+-]*(?:\[[^\]]*\]\(\S+\)|\[[^\]]*\]: \S+|<?https?://\S+)[.,;]?\s*", line)
        is not None
    )


def _without_fences(text: str) -> str:
    """The text with the lines of fenced code emptied, so that line numbers stay."""
    kept, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r"\s*(```+|~~~+)", line)
        inside = bool(fence or mark)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        kept.append("" if inside else line)
    return "\n".join(kept)


def _links(text: str) -> Iterator[str]:
    plain = re.sub(r"`[^`]*`", "", _without_fences(text))
    yield from re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", plain)


def _code_spans(text: str) -> Iterator[str]:
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", _without_fences(text))


def _names_in_fences(text: str) -> Iterator[str]:
    """Dotted names that examples import, and modules that they run with -m."""
    ours = rf"(?:{'|'.join(CODE_FOLDERS)})(?:\.\w+)*"
    for block in re.findall(r"^\s*```\w*\n(.*?)^\s*```", text, re.MULTILINE | re.DOTALL):
        for origin, names in re.findall(rf"^\s*from ({ours}) import ([\w, ]+)$", block, re.MULTILINE):
            yield from (f"{origin}.{name.split()[0]}" for name in names.split(",") if name.strip())
        yield from re.findall(rf"^\s*import ({ours})", block, re.MULTILINE)
        yield from re.findall(rf"\s-m ({ours})", block)


def pages_named_in_code(texts: Mapping[str, str], there: Set[str]) -> dict[str, list[str]]:
    """Pages that code names in comments and strings and that do not exist, by the file that names them."""
    missing = {path: sorted({*PAGE_IN_CODE.findall(text)} - there) for path, text in texts.items()}
    return {path: names for path, names in missing.items() if names}
