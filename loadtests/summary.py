"""The result as a table for people and as slo.json for programs, both without secrets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.environments.base import ServerVersions
from harness.history.figures import quantile
from harness.masking import masked_json
from loadtests.measurement import Measurement
from loadtests.profiles import Profile
from loadtests.slo import Objective, SloReport

SCHEMA = "agentexec-harness/slo"
_LISTED = 20
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def as_json(
    profile: Profile, versions: ServerVersions, measurement: Measurement, report: SloReport
) -> dict[str, Any]:
    """The content of slo.json; latencies are milliseconds, rates are tasks per second."""
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
        "service_levels": [one.to_json() for one in report.objectives],
        "incomplete": [
            {"task": one.task, "activity": one.activity, "status": one.status}
            for one in measurement.incomplete
        ],
        "problems": list(measurement.problems),
        "deadlocks": measurement.deadlocks.to_value(),
        "logs": [log.to_value() for log in measurement.logs],
    }
    cleaned: dict[str, Any] = masked_json(document)
    return cleaned


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write slo.json."""
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def table(measurement: Measurement, report: SloReport) -> str:
    """A table of rates, latencies, service levels and unfinished tasks."""
    return "\n".join(
        [*_figures(measurement), "", *_levels(report.objectives), *_names(measurement), "", _end(report)]
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


def _levels(objectives: Sequence[Objective]) -> Iterator[str]:
    width = max(len(one.name) for one in objectives)
    for one in objectives:
        sign = ">=" if one.at_least else "<="
        wanted = f"{sign} {one.wanted:g} {one.unit}".strip()
        yield f"{one.outcome:<15} {one.name:<{width}}  {wanted:<12}  measured {_text(one.measured)}"


def _names(measurement: Measurement) -> Iterator[str]:
    for one in measurement.incomplete[:_LISTED]:
        yield f"                task {one.task} (activity {one.activity}) is {one.status}"
    more = len(measurement.incomplete) - _LISTED
    if more > 0:
        yield f"                and {more} more, all in slo.json"
    for problem in measurement.problems:
        yield f"                evidence: {problem}"
    for detail in measurement.deadlocks.details:
        yield f"                deadlock: {detail}"
    if measurement.deadlocks.why:
        yield f"                deadlocks are not known: {measurement.deadlocks.why}"
    for log in measurement.logs:
        if log.count:
            yield f"                {log.text}"


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
