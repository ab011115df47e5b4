"""The result for people and for programs: a table, and slo.json. No secret is in either."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.environments.base import ServerVersions
from harness.masking import masked_json
from harness.report.scales import quantile
from loadtests.measurement import Measurement
from loadtests.profiles import Profile
from loadtests.slo import Line, SloReport

SCHEMA = "agentexec-harness/slo"
_NAMED = 20
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def as_json(
    profile: Profile, versions: ServerVersions, measurement: Measurement, report: SloReport
) -> dict[str, Any]:
    """Everything a program may want to know; latencies are milliseconds, rates tasks per second."""
    document = {
        "schema": SCHEMA,
        "schema_version": 1,
        "outcome": report.outcome,
        "exit_code": report.exit_code,
        "profile": {
            "name": profile.name,
            "users": profile.users,
            "duration": profile.duration,
            "workers": profile.workers,
            "concurrency": profile.concurrency,
            "seed": profile.seed,
        },
        "servers": {"postgres": versions.postgres, "redis": versions.redis},
        "seconds": round(measurement.seconds, 3),
        "counts": {
            "planned": round(measurement.planned, 1),
            "attempted": measurement.attempted,
            "acknowledged": measurement.acknowledged,
            "completed": measurement.completed,
        },
        "latency_ms": {
            "enqueue": _quantiles(measurement.enqueue_ms),
            "end_to_end": _quantiles(measurement.end_to_end_ms),
        },
        "service_levels": [line.to_json() for line in report.lines],
        "incomplete": [
            {"task": one.task, "activity": one.activity, "status": one.status}
            for one in measurement.incomplete
        ],
        "problems": list(measurement.problems),
    }
    cleaned: dict[str, Any] = masked_json(document)
    return cleaned


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write slo.json."""
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def table(measurement: Measurement, report: SloReport) -> str:
    """Rates and latencies, every service level, and the tasks that are not done by their names."""
    return "\n".join(
        [*_figures(measurement), "", *_levels(report.lines), *_names(measurement), "", _end(report)]
    )


def _figures(measurement: Measurement) -> Iterator[str]:
    yield f"{'':12}{'count':>8}{'per s':>9}" + "".join(f"{f'{name} ms':>10}" for name in _QUANTILES)
    rows = (
        ("enqueue", measurement.acknowledged, measurement.enqueue_ms),
        ("end to end", measurement.completed, measurement.end_to_end_ms),
    )
    for name, count, latencies in rows:
        rate = count / measurement.seconds if measurement.seconds else 0.0
        cells = "".join(f"{_text(quantile(latencies, q)):>10}" for q in _QUANTILES.values())
        yield f"{name:12}{count:>8,}{rate:>9.1f}{cells}"


def _levels(lines: Sequence[Line]) -> Iterator[str]:
    width = max(len(line.name) for line in lines)
    for line in lines:
        sign = ">=" if line.at_least else "<="
        wanted = f"{sign} {line.wanted:g} {line.unit}".strip()
        yield f"{line.outcome:<15} {line.name:<{width}}  {wanted:<12}  measured {_text(line.measured)}"


def _names(measurement: Measurement) -> Iterator[str]:
    for one in measurement.incomplete[:_NAMED]:
        yield f"                task {one.task} (activity {one.activity}) is {one.status}"
    more = len(measurement.incomplete) - _NAMED
    if more > 0:
        yield f"                and {more} more, all in slo.json"
    for problem in measurement.problems:
        yield f"                evidence: {problem}"


def _end(report: SloReport) -> str:
    return f"service levels: {report.outcome}"


def _quantiles(latencies: Sequence[float]) -> dict[str, float | str | None]:
    return {name: _number(quantile(latencies, q)) for name, q in _QUANTILES.items()}


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    return "never" if math.isinf(value) else round(value, 3)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    return f"{value:,.1f}".removesuffix(".0") if value >= 10 else f"{value:.3g}"
