"""The files of a deployment as text: documents, the services of a Compose file, units with their drop-ins.

They are read as lines of `key: value`, so that a finding can name the line, and no YAML library is needed. Templates
are not rendered, but named: what a file lacks may come with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

YAML = (".yaml", ".yml")
ENDINGS = (*YAML, ".service", ".env", ".rules")
MOST_FOLDERS, MOST_FILES, MOST_BYTES = 5000, 500, 1_000_000
PLACEHOLDERS = (".example", ".sample", ".template", ".dist")
NOT_SEARCHED = ("node_modules", "venv", "__pycache__")
# On one line, as a list of words on lines of their own, or split into command and args.
_WORKER = re.compile(
    r"agentexec['\"]?(?:,?[ \t]+(?:\\\n[ \t]*)?|,|\n[ \t]*-[ \t]+"
    r"|\]?\n[ \t]*(?:args|command)[ \t]*:[ \t]*(?:\[[ \t]*|\n[ \t]*-[ \t]+)?)['\"]?worker\b"
)
_API = re.compile(r"\b(?:uvicorn|gunicorn|hypercorn)\b(?!\s*:)")
_KEY = re.compile(r"^( *)(?:- )?(['\"]?)([\w.-]+)\2[ \t]*:", re.MULTILINE)
_ANCHOR = re.compile(r"&([\w-]+)")
_ALIAS = re.compile(r"\*([\w-]+)")
_HELM = re.compile(r"\{\{-?\s*(?:\.Values|\.Release|include|template|if|range|with|end|toYaml)\b")
_COPIES = re.compile(r"\b(?:replicas|minReplicas|scale)[ \t]*:[ \t]*(\S+)")
ENOUGH_COPIES = 2
_WORD = r"[ \t]*:[ \t]*['\"]?([\w.-]+)"
_MERGED = re.compile(r"^[ \t]+extends[ \t]*:|^include[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One YAML document or object of a file, a service of a Compose file, or a file of another kind."""

    file: str
    first_line: int
    text: str

    def line(self, position: int) -> str:
        """`file:line` of a position in the text."""
        return f"{self.file}:{self.first_line + self.text.count(chr(10), 0, position)}"

    @cached_property
    def kind(self) -> str:
        """The kind of an object of Kubernetes; empty for anything else."""
        match = re.search(r"^kind\s*:\s*['\"]?(\w+)", self.text, re.MULTILINE)
        return match[1] if match and "apiVersion" in self.text else ""

    @property
    def is_compose(self) -> bool:
        """Whether it is a Compose file."""
        return not self.kind and re.search(r"^services\s*:", self.text, re.MULTILINE) is not None

    @property
    def is_unit(self) -> bool:
        """Whether it is a unit of systemd."""
        return self.file.endswith(".service")

    def part(self, start: int, end: int) -> Manifest:
        """The lines of the text from one position to another."""
        line = self.first_line + self.text.count("\n", 0, start)
        return Manifest(file=self.file, first_line=line, text=self.text[start:end])


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedProgram:
    """A place that starts a program. `scope` are the texts with its settings; an earlier one wins over a later one."""

    text: Manifest
    start: int
    scope: tuple[Manifest, ...]

    @property
    def place(self) -> str:
        """`file:line` of the start."""
        return self.text.line(self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployedManifests:
    """All documents of a folder, or of one file. `unread` says what may add to them, and is empty if nothing does."""

    documents: tuple[Manifest, ...]
    drop_ins: tuple[Manifest, ...]
    unread: str

    def workers(self) -> list[StartedProgram]:
        """The places that start `agentexec worker`."""
        return self._starts(_WORKER)

    def api_servers(self) -> list[StartedProgram]:
        """The places that start a server of an HTTP API."""
        return self._starts(_API)

    def copies(self, starts: Sequence[StartedProgram]) -> dict[str, int]:
        """How many of a program start by the kind of the files, without units, which name no number."""
        counts: dict[str, int] = {}
        for one in starts:
            if not one.text.is_unit:
                kind = "Kubernetes" if one.text.kind else "Compose"
                counts[kind] = counts.get(kind, 0) + self._copies(one)
        return counts

    def _copies(self, one: StartedProgram) -> int:
        name = _named_in(one.text, "metadata")
        scalers = [it for it in self.documents if it.kind == "HorizontalPodAutoscaler"]
        mine = [it for it in scalers if name and _named_in(it, "scaleTargetRef") == name]
        values = (match[1] for text in (*mine, *one.scope) for match in _COPIES.finditer(text.text))
        value = next(values, "1")
        number = re.search(r"\d+", value)
        return int(number[0]) if number else ENOUGH_COPIES  # of a variable

    def _starts(self, pattern: re.Pattern[str]) -> list[StartedProgram]:
        scoped = (pair for one in self.documents for pair in self._scoped(one))
        return [
            StartedProgram(text=text, start=match.start(), scope=scope)
            for text, scope in scoped
            if (match := pattern.search(text.text))
        ]

    def _scoped(self, one: Manifest) -> Iterator[tuple[Manifest, tuple[Manifest, ...]]]:
        if one.is_compose:
            for service, anchors in _services(one):
                yield service, (service, *anchors)
        else:
            folder = f"{one.file}.d/"
            yield one, (*(two for two in reversed(self.drop_ins) if two.file.startswith(folder)), one)


def read_manifests(place: Path) -> DeployedManifests:
    """Read the files below a folder, or one file; what cannot be read is left out."""
    paths, whole = _paths(place)
    base = place if place.is_dir() else place.parent
    texts = [(str(path.relative_to(base)), text) for path in paths if (text := _text(path)) is not None]
    documents = [one for name, text in texts if not name.endswith(".conf") for one in _documents(name, text)]
    drop_ins = [
        Manifest(file=name, first_line=1, text=text) for name, text in texts if name.endswith(".conf")
    ]
    unread = (
        _unrendered([path.name for path in paths], documents)
        if whole
        else "not all of its files were read: give a smaller folder"
    )
    return DeployedManifests(documents=tuple(documents), drop_ins=tuple(drop_ins), unread=unread)


def _paths(place: Path) -> tuple[list[Path], bool]:
    """The files in order, and whether these are all."""
    if place.is_file():
        return [place], True
    found: list[Path] = []
    for number, (folder, folders, names) in enumerate(os.walk(place)):
        folders[:] = sorted(one for one in folders if one[0] != "." and one not in NOT_SEARCHED)
        found += [Path(folder, name) for name in sorted(names) if _is_manifest(Path(folder, name))]
        if len(found) > MOST_FILES or number == MOST_FOLDERS:
            return found[:MOST_FILES], False
    return found, True


def _is_manifest(path: Path) -> bool:
    return (
        path.suffix in ENDINGS
        or (path.name.startswith(".env") and path.suffix not in PLACEHOLDERS)
        or (path.suffix == ".conf" and path.parent.name.endswith(".service.d"))
        or path.name == "Kustomization"
    )


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        return path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except OSError:
        return None


def _documents(name: str, text: str) -> Iterator[Manifest]:
    if not name.endswith(YAML):
        yield Manifest(file=name, first_line=1, text=text)
        return
    lines = text.splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if line.startswith("---")]
    for start, end in pairwise([-1, *ends, len(lines)]):
        one = Manifest(file=name, first_line=start + 2, text="".join(lines[start + 1 : end]))
        yield from _items(one) if one.kind.endswith("List") else [one]


def _items(one: Manifest) -> Iterator[Manifest]:
    """The objects of a List, each as if it stood alone."""
    first = re.search(r"^( *)- (?=\S)", one.text, re.MULTILINE)
    if first is None:
        return
    starts = [match.start() for match in re.finditer(rf"^{first[1]}- ", one.text, re.MULTILINE)]
    depth = len(first[1]) + 2
    for start, end in pairwise([*starts, len(one.text)]):
        part = one.part(start, end)
        lines = [line[depth:] if line.strip() else line for line in part.text.splitlines(keepends=True)]
        yield Manifest(file=part.file, first_line=part.first_line, text="".join(lines))


def _services(one: Manifest) -> Iterator[tuple[Manifest, list[Manifest]]]:
    """Each service of a Compose file, and what its aliases name."""
    anchors = {match[1]: _block(one, match.start()) for match in _ANCHOR.finditer(one.text)}
    inside, depth = False, 0
    for match in _KEY.finditer(one.text):
        if not match[1]:
            inside, depth = match[3] == "services", 0
        elif inside and depth in (0, len(match[1])):
            depth = len(match[1])
            service = _block(one, match.start())
            yield service, _named(service, anchors)


def _named_in(one: Manifest, key: str) -> str:
    """The name below a key of an object of Kubernetes."""
    place = re.search(rf"^ *{key}[ \t]*:", one.text, re.MULTILINE)
    if place is None:
        return ""
    line, _, below = _block(one, place.start()).text.partition("\n")
    child = re.search(r"^ +(?=\S)", below, re.MULTILINE)
    match = re.search(rf"[{{,][ \t]*name{_WORD}", line)
    match = match or (re.search(rf"^{child[0]}name{_WORD}", below, re.MULTILINE) if child else None)
    return match[1] if match else ""


def _named(service: Manifest, anchors: dict[str, Manifest]) -> list[Manifest]:
    found: dict[str, Manifest] = {}
    waiting = [service]
    while waiting:
        names = _ALIAS.findall(waiting.pop(0).text)
        new = {name: anchors[name] for name in names if name in anchors and name not in found}
        found |= new
        waiting += new.values()
    return list(found.values())


def _block(one: Manifest, position: int) -> Manifest:
    """The line of a position with the lines that are deeper."""
    start = one.text.rfind("\n", 0, position) + 1
    depth = len(one.text[start:]) - len(one.text[start:].lstrip(" "))
    after = re.compile(rf"^ {{0,{depth}}}[^\s#]", re.MULTILINE).search(
        one.text, one.text.find("\n", start) + 1 or len(one.text)
    )
    return one.part(start, after.start() if after else len(one.text))


def _unrendered(names: Sequence[str], documents: Sequence[Manifest]) -> str:
    """The first file that a tool completes, and the tool."""
    texts = [(one.file, one.text) for one in documents]
    helm = next((file for file, text in texts if file.endswith(YAML) and _HELM.search(text)), "")
    if helm or "Chart.yaml" in names:
        return f"{helm or 'Chart.yaml'} is of Helm; give the output of `helm template`"
    if kustomized := [name for name in names if name.lower().partition(".")[0] == "kustomization"]:
        return f"{kustomized[0]} is of Kustomize; give the output of `kubectl kustomize`"
    merged = next(
        (
            one.file
            for one in documents
            if one.is_compose and (".override." in one.file or _MERGED.search(one.text))
        ),
        "",
    )
    return f"{merged} is merged with others; give the output of `docker compose config`" if merged else ""
