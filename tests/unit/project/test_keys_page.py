"""docs/reference/queue-protocol.md lists every Redis key of a queue, with its owner and its end."""

from __future__ import annotations

import re
from pathlib import Path

from agentexec.queue.keys import QueueKeys

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "queue-protocol.md"


def test_every_key_is_listed_with_its_owner_and_its_end() -> None:
    table = PAGE.read_text("utf-8").partition("## Keys")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    listed = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert listed.keys() == {key.removeprefix("{q}:") for key in QueueKeys.of("q").all()}
    for name, row in listed.items():
        owner, end = (cell.strip() for cell in row[3:])
        assert owner in ("the task", "the worker", "the pool", "the queue"), name
        assert end, name


def test_only_the_queue_owns_what_stays() -> None:
    for line in PAGE.read_text("utf-8").splitlines():
        assert not line.endswith("| stays |") or "| the queue | stays |" in line
