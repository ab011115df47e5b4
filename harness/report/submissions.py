"""The client's lane: when tasks were submitted and how each submission ended, as one mark per column of pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from markupsafe import Markup

from harness.report.frame import LEFT
from harness.report.picture_data import Bar, BarOutcome
from harness.report.scales import Scale, seconds_text
from harness.report.svg import tag

HEIGHT = 16.0
COLUMN = 3.0
WORDS = {
    BarOutcome.OK: "acknowledged",
    BarOutcome.FAIL: "refused",
    BarOutcome.UNKNOWN: "with an unknown outcome",
}


def submission_lane(bars: Sequence[Bar], scale: Scale, top: float, named: set[int]) -> tuple[Markup, float]:
    """The lane, and the vertical position of the next one."""
    columns: dict[tuple[int, BarOutcome], list[Bar]] = defaultdict(list)
    for bar in bars:
        columns[int(scale(bar.start) // COLUMN), bar.outcome].append(bar)
    label = tag("text", "client", x=LEFT - 10, y=top + HEIGHT / 2 + 4, class_="lane-name end")
    marks = [_mark(column, outcome, members, top, named) for (column, outcome), members in columns.items()]
    return tag("g", label, *marks, class_="client"), top + HEIGHT


def _mark(column: int, outcome: BarOutcome, members: list[Bar], top: float, named: set[int]) -> Markup:
    first, last = members[0], members[-1]
    tasks = (
        f"task {first.task}" if len(members) == 1 else f"{len(members)} tasks ({first.task} to {last.task})"
    )
    lost = sorted(bar.task for bar in members if bar.task in named)
    more = f"; among them {', '.join(map(str, lost))}" if lost and len(members) > 1 else ""
    # Each outcome has its own height, so that marks on the same pixel stay distinguishable.
    y = top + {BarOutcome.OK: 0.0, BarOutcome.FAIL: HEIGHT / 2, BarOutcome.UNKNOWN: HEIGHT * 0.75}[outcome]
    height = HEIGHT if outcome is BarOutcome.OK else HEIGHT / 4
    title = f"{tasks} submitted at {seconds_text(first.start)}, {WORDS[outcome]}{more}"
    return tag(
        "g",
        tag("title", title),
        tag("rect", x=column * COLUMN, y=y, width=COLUMN - 0.6, height=height, class_="body"),
        class_=f"mark {outcome.value}{' named' if lost else ''}",
    )
