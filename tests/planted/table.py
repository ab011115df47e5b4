"""The table of the planted defects: what found each, after how many tries and seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.simulation import power
from harness.simulation.power import Density
from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, MEANS, QUEUE_MACHINE, SIMULATION, TEST, Defect
from tests.planted.searches import Search

BEGIN, END = "<!-- the table: made by nox -s planted -->", "<!-- end of the table -->"
UNITS = {
    QUEUE_MACHINE: "example",
    ACTIVITY_MACHINE: "example",
    SIMULATION: "schedule",
    TEST: "test",
    CHAOS: "task",
}
WANTED = 2
DENSITIES = Path(power.__file__).parent / "densities.json"
_DENSITY = re.compile(r" of 1,000 \(\d+ to \d+; (\d+) of (\d+)\)")


def enough(defect: Defect, searches: Sequence[Search], able: Sequence[str]) -> str | None:
    """What is wrong with the searches of the means that can find a defect; None where nothing is."""
    found = {search.means for search in searches if search.found}
    missed = [search.means for search in searches if not search.found and search.means in able]
    wanted = min(WANTED, len(able))
    if missed:
        return f"{defect.name} was not found by {', '.join(missed)}"
    if len(found) < wanted:
        return f"{defect.name} was found by {len(found)} means, {wanted} have to"
    return None


def density(hits: int, tries: int) -> str:
    """How many of 1,000 schedules show a defect, with the interval of 95 % (Wilson, 1927) and the sample."""
    found = Density(hits, tries)
    low, high = (1000 * bound for bound in found.interval)
    return f"{1000 * found.share:.0f} of 1,000 ({low:.0f} to {high:.0f}; {hits} of {tries})"


def densities(document: Path) -> dict[str, Density]:
    """The densities that the table of the document has, by defect."""
    text = document.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    found: dict[str, Density] = {}
    for row in text.splitlines():
        if match := _DENSITY.search(row):
            found[_key(row).strip("`")] = Density(*map(int, match.groups()))
    return found


def write_densities(document: Path) -> None:
    """Write what `harness.simulation.power` knows of the densities, from the table of the document."""
    known = {name: list(one) for name, one in densities(document).items() if one.hits}
    DENSITIES.write_text(json.dumps(known, indent=0) + "\n", "utf-8")


def table(results: Mapping[str, Sequence[Search]], defects: Mapping[str, Defect]) -> str:
    """The table in Markdown, in the order of the defects, the true implementation last; no time is below 1 s."""
    head = [["defect", *MEANS], ["---"] * (len(MEANS) + 1)]
    rows = [[_name(name), *_cells(searches, defects.get(name))] for name, searches in results.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*head, *rows])


def write(document: Path, text: str, order: Sequence[str], *, begin: str = BEGIN, end: str = END) -> None:
    """Put the table into its place in the document; rows that the document has and the table has not are kept."""
    old = document.read_text("utf-8").partition(begin)[2].partition(end)[0]
    head = text.splitlines()[:2]
    rows = {_key(row): row for row in [*old.strip().splitlines()[2:], *text.splitlines()[2:]]}
    kept = [rows[_name(name)] for name in order if _name(name) in rows]
    place(document, "\n".join([*head, *kept]), begin, end)


def place(document: Path, body: str, begin: str, end: str) -> None:
    """Replace what the document has between two lines."""
    before, _, rest = document.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    document.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", "utf-8")


def replace_cells(
    document: Path, means: str, searches: Mapping[str, Search], defects: Mapping[str, Defect]
) -> None:
    """Put the searches of one means into the rows of the document; all other cells stay."""
    column, lines = MEANS.index(means) + 2, document.read_text("utf-8").split("\n")
    inside = range(lines.index(BEGIN), lines.index(END))
    rows = {_key(lines[i]): i for i in inside if lines[i].startswith("| `")}
    for name, search in searches.items():
        cells = lines[rows[_name(name)]].split("|")
        cells[column] = f" {_cell([search], means, defects.get(name))} "
        lines[rows[_name(name)]] = "|".join(cells)
    document.write_text("\n".join(lines), "utf-8")


def _key(row: str) -> str:
    return row.split("|")[1].strip()


def _name(name: str) -> str:
    return f"`{name}`"


def _cells(searches: Sequence[Search], defect: Defect | None) -> list[str]:
    return [_cell([search for search in searches if search.means == means], means, defect) for means in MEANS]


def _cell(searches: Sequence[Search], means: str, defect: Defect | None) -> str:
    tries, seconds = sum(search.tries for search in searches), sum(search.seconds for search in searches)
    if means == TEST and not searches:
        return "none is named"
    spent = f"{_count(tries, UNITS[means])}, {_rounded(seconds)} s"
    found = [search.found for search in searches if search.found]
    if searches and means == SIMULATION and defect is not None:
        why = f"; {defect.rare}" if defect.rare else ""
        return f"{found[0] if found else 'nothing'}: {density(searches[0].hits, tries)}{why}"
    if found:
        return f"{'; '.join(found)} ({spent})"
    if defect is not None and means in defect.blind:
        return f"cannot: {defect.blind[means]}"
    return f"nothing ({spent})"


def _count(tries: int, unit: str) -> str:
    return f"{tries} {unit}{'' if tries == 1 else 's'}"


def _rounded(seconds: float) -> int:
    return max(1, round(seconds))
