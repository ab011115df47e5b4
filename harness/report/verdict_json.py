"""verdict.json: the report for programs. Keys keep their order; `VERSION` rises if a key changes its meaning."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.masking import masked, masked_json
from harness.report.facts import packages, platform_facts
from harness.report.headline import Headline, headline, overall, sentence, verdict_note
from harness.report.picture_data import FaultRow, PictureData, data_of
from harness.scenario import ScenarioRun

SCHEMA = "agentexec-harness/verdict"
VERSION = 1


def verdict_json(runs: Sequence[ScenarioRun], *, written_at: str) -> str:
    """The document; `written_at` is an ISO 8601 time. Times are seconds, those of faults since the start."""
    lines = [headline(run) for run in runs]
    verdict = overall(runs)
    document = {
        "schema": SCHEMA,
        "schema_version": VERSION,
        "verdict": verdict.value,
        "exit_code": verdict.exit_code,
        "summary": sentence(runs, lines),
        "verdict_note": verdict_note(runs),
        "written_at": written_at,
        "platform": platform_facts(),
        "packages": packages(),
        "scenarios": [_scenario(run, line, data_of(run)) for run, line in zip(runs, lines, strict=True)],
    }
    return json.dumps(finite(masked_json(document)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value with None for infinity and NaN, which JSON does not have."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list():
            return [finite(item) for item in value]
        case _:
            return value


def _scenario(run: ScenarioRun, line: Headline, data: PictureData) -> dict[str, Any]:
    return {
        "scenario": run.scenario,
        "summary": run.summary,
        "verdict": run.verdict.value,
        "verdict_note": verdict_note([run]),
        "exit_code": run.verdict.exit_code,
        "error": run.error,
        "notes": list(run.notes),
        "backend": run.backend,
        "target": run.target,
        "target_version": run.target_version,
        "servers": {"postgres": run.servers.postgres, "redis": run.servers.redis, **run.servers.others},
        "seed": run.seed,
        "repeat": masked(run.repeat),
        "figures": asdict(line),
        "history": {
            "path": None if run.history_path is None else str(run.history_path),
            "operations": len(run.history),
            "problems": [*run.history.problems, *([] if data.problem is None else [data.problem])],
        },
        "checkers": {
            name: {
                "verdict": result.verdict.value,
                "summary": result.summary,
                "figures": dict(result.figures),
                "counterexamples": list(result.counterexamples),
                "promise": None if result.promise is None else asdict(result.promise),
            }
            for name, result in run.results.items()
        },
        "faults": [_fault(fault) for fault in data.faults],
    }


def _fault(fault: FaultRow) -> dict[str, Any]:
    return {
        "number": fault.number,
        "name": fault.name,
        "kind": fault.kind,
        "start": fault.start,
        "end": fault.end,
        "pids": list(fault.pids),
        "pool": fault.pool,
        "failed": fault.failed,
        "recovered": [
            {"task": one.task, "seconds": one.seconds}
            for one in fault.interrupted
            if one.seconds is not None or one.stuck
        ],
    }
