"""The moves of an activity as a diagram and a table, for docs/reference/activity-states.md.

`python -m tests.support.activity_states` writes both into the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentexec.store.status import MOVES, TERMINAL, Move, Status

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "activity-states.md"
BEGIN, END = "<!-- generated: moves -->", "<!-- end of moves -->"


def generated(moves: Sequence[Move] = MOVES) -> str:
    """The generated part of the page."""
    return f"{BEGIN}\n\n{_diagram(moves)}\n\n{_table(moves)}\n\n{END}"


def write(path: Path = PAGE) -> None:
    """Replace the generated part of the page."""
    text = path.read_text("utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    path.write_text(before + generated() + after, "utf-8")


def _diagram(moves: Sequence[Move]) -> str:
    causes: dict[tuple[Status, Status], list[str]] = {}
    for move in moves:
        causes.setdefault((move.before, move.after), []).append(move.cause)
    lines = ["[*] --> queued : enqueue"]
    lines += [
        f"{before} --> {after} : {'<br/>'.join(dict.fromkeys(why))}"
        for (before, after), why in causes.items()
    ]
    lines += [f"{status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"])


def _table(moves: Sequence[Move]) -> str:
    head = "| from | to | when | statement |\n|---|---|---|---|"
    rows = [
        f"| `{move.before}` | `{move.after}` | {move.cause} | `{move.statement}` |"
        for move in sorted(moves, key=lambda move: (list(Status).index(move.before), move.statement))
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    write()
