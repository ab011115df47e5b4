"""verdict.json: all that the report says, for programs. Keys keep their order; a change of meaning raises `VERSION`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.masking import masked, masked_json
from harness.report.evidence import Evidence, gather
from harness.report.facts import packages, platform_facts
from harness.report.headline import headline, overall, sentence
from harness.report.recovery import recoveries
from harness.scenario import ScenarioRun

SCHEMA = "agentexec-harness/verdict"
VERSION = 1


def verdict_json(runs: Sequence[ScenarioRun], *, written_at: str) -> str:
    """The document; `written_at` is an ISO 8601 time. Times are seconds, those of faults since the start."""
    evidence = [gather(run.history) for run in runs]
    lines = [headline(run, found) for run, found in zip(runs, evidence, strict=True)]
    verdict = overall(runs)
    document = {
        "schema": SCHEMA,
        "schema_version": VERSION,
        "verdict": verdict.value,
        "exit_code": verdict.exit_code,
        "summary": sentence(runs, lines),
        "written_at": written_at,
        "platform": platform_facts(),
        "packages": packages(),
        "scenarios": [_scenario(run, found) for run, found in zip(runs, evidence, strict=True)],
    }
    return json.dumps(finite(masked_json(document)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN; they become None."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list():
            return [finite(item) for item in value]
        case _:
            return value


def _scenario(run: ScenarioRun, evidence: Evidence) -> dict[str, Any]:
    return {
        "scenario": run.scenario,
        "summary": run.summary,
        "verdict": run.verdict.value,
        "exit_code": run.verdict.exit_code,
        "error": run.error,
        "backend": run.backend,
        "target": run.target,
        "target_version": run.target_version,
        "servers": {"postgres": run.servers.postgres, "redis": run.servers.redis},
        "seed": run.seed,
        "repeat": masked(run.repeat),
        "figures": asdict(headline(run, evidence)),
        "history": {
            "path": None if run.history_path is None else str(run.history_path),
            "operations": len(run.history),
            "problems": list(run.history.problems),
        },
        "checkers": {
            name: {
                "verdict": result.verdict.value,
                "summary": result.summary,
                "figures": dict(result.figures),
                "counterexamples": list(result.counterexamples),
            }
            for name, result in run.results.items()
        },
        "faults": _faults(evidence),
    }


def _faults(evidence: Evidence) -> list[dict[str, Any]]:
    found = recoveries(evidence)
    return [
        {
            **asdict(fault),
            "recovered": [{"task": r.task, "seconds": r.seconds} for r in found if r.fault == fault.number],
        }
        for fault in evidence.faults
    ]
