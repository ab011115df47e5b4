"""The verdict of a load as that of one scenario, for the comparison of two loads and for the index of reports.

Each threshold stands for a checker, and the generator for one more. Latencies of single runs are figures: shown, and
not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checkers.base import Verdict

LOAD_SCHEMA = "agentexec-harness/load-verdict"

SCENARIO = "load"
"""The name of the scenario if the facts of the load do not name its shape."""

_VERDICTS = {"met": Verdict.VALID, "breached": Verdict.INVALID, "not measurable": Verdict.UNKNOWN}


def as_scenarios(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document with scenarios: that of a load has one, others are returned as they are.

    Raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` if it is not what a load writes.
    """
    if document.get("schema") != LOAD_SCHEMA:
        return document
    facts = document["facts"]
    thresholds = {
        f"{one['row']}: {one['threshold']}": _VERDICTS[one["outcome"]] for one in document["thresholds"]
    }
    thresholds["generator"] = Verdict.of(wrong=False, unsure=bool(document["doubts"]))
    scenario = {
        "scenario": facts.get("shape", SCENARIO),
        "target": facts.get("target", ""),
        "target_version": facts.get("target_version", ""),
        "backend": facts.get("backend"),
        "seed": facts.get("seed"),
        "verdict": document["verdict"],
        "figures": {"lost": document["counts"]["lost"], **dict(_figures(document["rows"]))},
        "checkers": {
            name: {"verdict": verdict, "counterexamples": []} for name, verdict in thresholds.items()
        },
    }
    return {**document, "scenarios": [scenario]}


def _figures(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    """Errors of each row, and its quantiles in milliseconds: None for one that never completed."""
    for name, row in rows.items():
        yield f"{name} errors", row["errors"]
        for quantile in ("p50", "p99"):
            if row["latency"] is not None:
                value = row["latency"][quantile]
                yield (
                    f"{name} {quantile} ms",
                    None if isinstance(value, str) else float(f"{value * 1000:.3g}"),
                )
