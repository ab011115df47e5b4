"""The matrix of the mistakes: kept from the last run of each, and written into docs/reference/doctor-proof.md."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.report.markdown import plain_text
from tests.house.sources import ROOT
from tests.house.written_page import WrittenPage
from tests.mistakes.dangers import DANGERS
from tests.mistakes.finding import FoundMistake
from tests.mistakes.listed import MISTAKES
from tests.mistakes.not_shown import NOT_SHOWN

NOT_RUN = {"wrong": "not run yet", "right": "not run yet"}
# Of a task: another one in each run.
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LAST_RUN = Path(__file__).with_name("last_run.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownDanger:
    """What the two runs of a danger showed, and each sentence that says what is wrong with that."""

    id: str
    mistake: str
    scenario: str
    wrong: str
    right: str
    complaints: tuple[str, ...] = ()


def keep(finds: Sequence[FoundMistake] = (), dangers: Sequence[ShownDanger] = ()) -> None:
    """Keep these results in place of those of the same checks, in the order of the lists."""
    last = kept()
    found = [
        {"id": one.mistake.id, "grade": one.mistake.grade, "seen": _ID.sub("ID", one.seen)} for one in finds
    ]
    names = [field.name for field in fields(ShownDanger) if field.name != "complaints"]
    shown = [{name: getattr(one, name) for name in names} for one in dangers]
    document = {
        "mistakes": _merged(last["mistakes"], found, [one.id for one in MISTAKES]),
        "dangers": _merged(last["dangers"], shown, [one.id for one in DANGERS]),
    }
    LAST_RUN.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _merged(
    old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], order: Sequence[str]
) -> list[dict[str, Any]]:
    ids = {one["id"] for one in new}
    rows = [*(one for one in old if one["id"] not in ids and one["id"] in order), *new]
    return sorted(rows, key=lambda one: order.index(one["id"]))


def kept() -> dict[str, list[dict[str, Any]]]:
    """The results of the last run of each."""
    document: dict[str, list[dict[str, Any]]] = json.loads(LAST_RUN.read_text("utf-8"))
    return document


def matrix() -> str:
    """Three tables: what endangers tasks, what the doctor saw of each mistake, and what no run shows."""
    last = kept()
    runs = {one["id"]: one for one in last["dangers"]}
    dangers = [
        f"| `{one.id}` | {one.mistake} | [`{one.wrong.scenario.name}`](scenarios.md) | "
        f"{plain_text(runs.get(one.id, NOT_RUN)['wrong'])} | {plain_text(runs.get(one.id, NOT_RUN)['right'])} |"
        for one in DANGERS
    ]
    seen = {one["id"] for one in last["mistakes"]}
    found = [f"| `{one['id']}` | {one['grade']} | {plain_text(one['seen'])} |" for one in last["mistakes"]]
    found += [f"| `{one.id}` | {one.grade} | not run yet |" for one in MISTAKES if one.id not in seen]
    return "\n".join(
        [
            "## What endangers tasks",
            "",
            "| id | mistake | scenario | with the mistake | without it |",
            "|---|---|---|---|---|",
            *dangers,
            "",
            "## What the doctor saw",
            "",
            "| id | grade | seen |",
            "|---|---|---|",
            *found,
            "",
            "## What no run shows",
            "",
            "| ids | why |",
            "|---|---|",
            *(f"| {', '.join(f'`{name}`' for name in names)} | {why} |" for names, why in NOT_SHOWN),
        ]
    )


PAGE = WrittenPage(
    path=ROOT / "docs" / "reference" / "doctor-proof.md", module="tests.mistakes.matrix", table=matrix
)

if __name__ == "__main__":
    PAGE.write()
