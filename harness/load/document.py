"""verdict.json of a load, for programs. Keys keep their order; `VERSION` rises if a key changes its meaning.

Times are seconds. What is infinite, because a request never completed, is the string "never".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.load.accounting import Accounting
from harness.load.histogram import LatencyHistogram
from harness.load.rows import LoadRow
from harness.load.verdict import LoadVerdict
from harness.masking import masked_json
from harness.report.compare_loads import LOAD_SCHEMA
from harness.report.facts import packages, platform_facts

VERSION = 1
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
NEVER = "never"


def load_document(verdict: LoadVerdict, *, written_at: str) -> dict[str, Any]:
    """The content of verdict.json, without secrets; `written_at` is an ISO 8601 time."""
    evidence = verdict.evidence
    document = {
        "schema": LOAD_SCHEMA,
        "schema_version": VERSION,
        "verdict": verdict.verdict.value,
        "outcome": verdict.outcome.value,
        "exit_code": verdict.exit_code,
        "summary": verdict.summary,
        "written_at": written_at,
        "platform": platform_facts(),
        "packages": packages(),
        "facts": dict(evidence.facts),
        "seconds": round(evidence.seconds, 3),
        "planned": round(evidence.planned, 1),
        "counts": _counts(evidence.accounting),
        "generator": {
            "bounds": asdict(evidence.bounds),
            "lateness": latency_value(evidence.accounting.noticed),
        },
        "thresholds": [result.to_value() for result in verdict.results],
        "doubts": [{"kind": doubt.kind.value, "text": doubt.text} for doubt in verdict.doubts],
        "rows": {name: _row(row) for name, row in sorted(evidence.all_rows().items())},
        "worst": [asdict(task) for task in evidence.worst],
        "resources": [one.to_value() for one in evidence.resources],
        "logs": [one.to_value() for one in evidence.logs],
    }
    cleaned: dict[str, Any] = _without_infinity(masked_json(document))
    return cleaned


def latency_value(latencies: LatencyHistogram) -> dict[str, Any]:
    """The quantiles of a histogram by name, with its counters, so that it can be merged and compared again."""
    found = latencies.quantiles(PERCENTILES)
    return {
        **{f"p{one:g}": value for one, value in zip(PERCENTILES, found, strict=True)},
        "min": latencies.least,
        "mean": latencies.mean,
        "max": latencies.most,
        "histogram": latencies.to_value(),
    }


def _counts(counts: Accounting) -> dict[str, Any]:
    value = counts.to_value()
    del value["lateness"], value["noticed"]
    return value


def _row(row: LoadRow) -> dict[str, Any]:
    return {
        "count": row.count,
        "errors": row.errors,
        "planned": row.planned,
        "per_second": row.count / row.seconds if row.seconds else None,
        "figures": dict(row.figures),
        "latency": latency_value(row.latencies) if row.latencies.count else None,
    }


def _without_infinity(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return NEVER
        case Mapping():
            return {key: _without_infinity(item) for key, item in value.items()}
        case list():
            return [_without_infinity(item) for item in value]
        case _:
            return value
