"""The table of the planted defects: what found each, after how many tries and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, MEANS, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.searches import Search

BEGIN, END = "<!-- the table: made by nox -s planted -->", "<!-- end of the table -->"
UNITS = {
    QUEUE_MACHINE: "example",
    ACTIVITY_MACHINE: "example",
    SIMULATION: "schedule",
    CHAOS: "task",
}
WANTED = 2


def enough(defect: Defect, searches: Sequence[Search], able: Sequence[str]) -> str | None:
    """What is wrong with the searches of the means that can find a defect; None where nothing is."""
    found = {search.means for search in searches if search.found}
    missed = [search.means for search in searches if not search.found]
    wanted = min(WANTED, len(able))
    if missed:
        return f"{defect.name} was not found by {', '.join(missed)}"
    if len(found) < wanted:
        return f"{defect.name} was found by {len(found)} means, {wanted} have to"
    return None


def table(results: Mapping[str, Sequence[Search]], defects: Mapping[str, Defect]) -> str:
    """The table in Markdown, in the order of the defects, the true implementation last; no time is below 1 s."""
    head = [["defect", *MEANS], ["---"] * (len(MEANS) + 1)]
    rows = [[_name(name), *_cells(searches, defects.get(name))] for name, searches in results.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*head, *rows])


def write(document: Path, text: str, order: Sequence[str], *, begin: str = BEGIN, end: str = END) -> None:
    """Put the table into its place in the document; rows that the document has and the table has not are kept."""
    before, _, rest = document.read_text("utf-8").partition(begin)
    old, _, after = rest.partition(end)
    head = text.splitlines()[:2]
    rows = {_key(row): row for row in [*old.strip().splitlines()[2:], *text.splitlines()[2:]]}
    kept = [rows[_name(name)] for name in order if _name(name) in rows]
    body = "\n".join([*head, *kept])
    document.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", "utf-8")


def _key(row: str) -> str:
    return row.split("|")[1].strip()


def _name(name: str) -> str:
    return f"`{name}`"


def _cells(searches: Sequence[Search], defect: Defect | None) -> list[str]:
    return [_cell([search for search in searches if search.means == means], means, defect) for means in MEANS]


def _cell(searches: Sequence[Search], means: str, defect: Defect | None) -> str:
    tries, seconds = sum(search.tries for search in searches), sum(search.seconds for search in searches)
    spent = f"{_count(tries, UNITS[means])}, {_rounded(seconds)} s"
    found = [search.found for search in searches if search.found]
    if found:
        return f"{'; '.join(found)} ({spent})"
    if defect is not None and means in defect.blind:
        return f"cannot: {defect.blind[means]}"
    return f"nothing ({spent})"


def _count(tries: int, unit: str) -> str:
    return f"{tries} {unit}{'' if tries == 1 else 's'}"


def _rounded(seconds: float) -> int:
    return max(1, round(seconds))
