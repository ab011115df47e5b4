"""A history that is judged again, as a run that a report can show.

What the history does not hold comes from the verdict.json of the report that it is part of, if it is still there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.checkers.base import CheckResult
from harness.environments.base import ServerVersions
from harness.history import History
from harness.report.picture_data import picture_data
from harness.report.verdict_json import SCHEMA
from harness.scenario import ScenarioRun

ABSENT = "not recorded"


def as_run(
    history: History,
    results: Mapping[str, CheckResult],
    *,
    scenario: str,
    summary: str,
    path: Path,
    command: str,
) -> ScenarioRun:
    """The run of a scenario; `path` is the history, and `command` judges it again."""
    facts = _facts(path, scenario)
    others = {str(name): str(version) for name, version in (facts.get("servers") or {}).items()}
    data = picture_data(history)
    return ScenarioRun(
        scenario=scenario,
        summary=summary,
        backend=str(facts.get("backend", ABSENT)),
        target=str(facts.get("target", ABSENT)),
        target_version=str(facts.get("target_version", "")),
        seed=facts.get("seed"),
        tasks=len({bar.task for bar in data.submissions}),
        servers=ServerVersions(
            postgres=others.pop("postgres", ABSENT), redis=others.pop("redis", ABSENT), others=others
        ),
        history=history,
        results=results,
        seconds=data.seconds,
        repeat=str(facts.get("repeat", command)),
        history_path=path,
        error=facts.get("error"),
    )


def _facts(path: Path, scenario: str) -> Mapping[str, Any]:
    """The scenario in the verdict.json of `<report>/history/<scenario>`; empty if there is none."""
    try:
        document = json.loads((path.resolve().parent.parent / "verdict.json").read_text("utf-8"))
        if document["schema"] != SCHEMA:
            return {}
        return next((one for one in document["scenarios"] if one["scenario"] == scenario), {})
    except (OSError, ValueError, KeyError, TypeError):
        return {}
