"""The page of the promises, made from the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import relpath

from tests.promises.registry import ROOT, Promise

PAGE = ROOT / "docs" / "reference" / "promises.md"
BEGIN, END = "<!-- the table: made by python -m tests.promises --page -->", "<!-- end of the table -->"
HEAD = ("promise", "made in", "asked by", "can be broken by", "broken on purpose")


def table(promises: Mapping[str, Promise]) -> str:
    """The table in Markdown, in the order of the registry."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_cells, promises.values())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def placed(text: str, rows: str) -> str:
    """The text of the page with this table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}"


def _cells(promise: Promise) -> tuple[str, ...]:
    made = f"[{Path(promise.made).stem}]({relpath(promise.made, 'docs/reference')})"
    edits = [] if promise.edit is None else [f"{promise.edit.what} {_finder(promise.edit.test)}"]
    return (
        f"**{promise.name}**: {promise.says}",
        made,
        _list(map(_asker, promise.asked)),
        _list(f"`{name}`" for name in promise.struck),
        " ".join([*edits, *(f"`{name}`" for name in promise.broken)]),
    )


def _asker(name: str) -> str:
    return f"`{name.partition('::')[2].removeprefix('test_') or name}`"


def _finder(test: str) -> str:
    return f"({_asker(test.partition('[')[0])})"


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "—"
