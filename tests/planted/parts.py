"""What the protocol is made of: the statements of the store, the scripts of the queue, and what one hands to the other.

Each of them has a planted defect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentexec.queue.redis_queue import SCRIPTS
from agentexec.store import dead_letters, statements
from agentexec.store.changes import ActivityChange
from tests.planted.defect import Defect

# The last three have their text in functions: of agentexec.store.direct and of agentexec.activity.
STATEMENTS = (
    *(
        name
        for name, value in vars(statements).items()
        if name.isupper() and isinstance(value, ActivityChange)
    ),
    *(
        name
        for name in ("PROGRESS", "DISPATCHED", "WITHDRAW", "WITHDRAWN", "DEAD_LETTERED")
        if hasattr(statements, name)
    ),
    *(name for name in ("SETTLED",) if hasattr(dead_letters, name)),
    "note",
    "retention",
    "startup",
)
HAND_OVERS = (
    "producer to record",
    "record to queue",
    "claim to start",
    "start to handler",
    "handler to record",
    "record to finish",
    "lease to handler",
    "cancel to holder",
    "stop to release",
    "death to release",
    "death to respawn",
    "pool to orphan",
    "dead letter to record",
)
PARTS: Sequence[str] = (
    *(f"statement {name}" for name in STATEMENTS if name != "ENQUEUED_NEW"),
    *(f"script {name}" for name in SCRIPTS),
    *(f"hand-over {name}" for name in HAND_OVERS),
)
BEGIN, END = "<!-- the parts: made by nox -s planted -->", "<!-- end of the parts -->"


def by_part(defects: Mapping[str, Defect]) -> dict[str, list[str]]:
    """The names of the defects of each part; raises KeyError for a part that the protocol does not have."""
    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, defect in defects.items():
        found[defect.part].append(name)
    return found


def table(defects: Mapping[str, Defect]) -> str:
    """The parts with their defects, in Markdown."""
    rows = [
        f"| {part} | {', '.join(f'`{name}`' for name in names)} |" for part, names in by_part(defects).items()
    ]
    return "\n".join(["| part of the protocol | planted defects |", "|---|---|", *rows])
