"""The page of a load: one file without external resources and without a script, for light, dark and narrow screens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from harness.load.document import NEVER
from harness.load.heat_map import heat_map
from harness.load.histogram import LatencyHistogram
from harness.load.load_time import LoadTime, bucket_quantile, latency_text
from harness.load.quantile_plot import quantile_plot
from harness.load.rate_curve import RatePoint, rate_curve
from harness.load.resources import amount_text, per_task_text
from harness.load.schedule import PlacedStage
from harness.load.series import NEVER_BUCKET
from harness.load.stages import LinearStage
from harness.load.strips import load_over_time, resources_over_time
from harness.load.thresholds import ThresholdOutcome
from harness.report.page import render_page
from harness.report.scales import number_text

QUANTILES = ("p50", "p90", "p95", "p99", "p99.9", "max")
MOST_STAGES = 100
"""The most stages in the table; a soak may repeat its stages without end."""

_COUNTS = ("planned", "due", "sent", "late", "dropped", "refused", "unknown", "acknowledged", "lost")
_BAD = frozenset({"late", "dropped", "refused", "unknown", "lost"})


def load_html(
    document: Mapping[str, Any], time: LoadTime, *, baseline: Mapping[str, Any] | None = None
) -> str:
    """The page of a verdict.json of a load, compared with that of an earlier load if it is given."""
    before = {} if baseline is None else _p99s(baseline)
    stages = list(_stages(time))
    return render_page(
        "load.html",
        styles=["load.css"],
        document=document,
        thresholds=list(_thresholds(document, baseline)),
        over_time=load_over_time(time),
        heat=heat_map(time),
        resource_strips=resources_over_time(time),
        amount=amount_text,
        per_task=per_task_text,
        plots=list(_plots(document)),
        stages=stages,
        curve=rate_curve(stages),
        counts=list(_counts(document)),
        faults=time.faults,
        quantiles=QUANTILES,
        baseline=baseline,
        before={name: before.get(name) for name in document["rows"]},
        latency=_latency,
    )


def _thresholds(
    document: Mapping[str, Any], baseline: Mapping[str, Any] | None
) -> Iterator[Mapping[str, object]]:
    earlier = {(one["row"], one["threshold"]): one for one in (baseline or {}).get("thresholds", ())}
    for one in document["thresholds"]:
        old = earlier.get((one["row"], one["threshold"]))
        yield {
            **one,
            "verdict": ThresholdOutcome(one["outcome"]).verdict,
            "measured": _measured(one),
            "before": _before(one, old),
        }


def _before(one: Mapping[str, Any], old: Mapping[str, Any] | None) -> str:
    if one["unit"] == "times the baseline":  # an earlier load has such a value with another baseline
        return "1"
    return _measured(old) if old else _latency(None)


def _measured(one: Mapping[str, Any]) -> str:
    value, unit = one["measured"], one["unit"]
    if value is None or unit == "seconds" or value == NEVER:
        return _latency(value)
    return {"share": f"{value * 100:.4g} %", "per second": f"{value:.4g}/s"}.get(unit, number_text(value))


def _latency(value: float | str | None) -> str:
    return latency_text(math.inf if isinstance(value, str) else value)


def _plots(document: Mapping[str, Any]) -> Iterator[tuple[str, Markup]]:
    """A plot for each task with a curve for each kind of row, and one for all tasks if there are several."""
    groups: dict[str, dict[str, LatencyHistogram]] = {}
    for name, row in document["rows"].items():
        if row["latency"] is not None:
            _, _, task = name.partition(" ")
            groups.setdefault(task, {})[name] = LatencyHistogram.from_value(row["latency"]["histogram"])
    if len(groups) == 2:
        groups.pop("", None)
    for task, curves in sorted(groups.items(), key=lambda pair: (not pair[0], pair[0])):
        title = task or "Whole run"
        if (plot := quantile_plot(title, curves)) is not None:
            yield title, plot


def _stages(time: LoadTime) -> Iterator[RatePoint]:
    for one in time.stages[:MOST_STAGES]:
        end = min(one.end, time.seconds)
        if end <= one.begin:
            continue
        seen = time.within(one.begin, end)
        yield RatePoint(
            text=one.stage.text,
            constant=isinstance(one.stage, LinearStage) and one.stage.first == one.stage.last > 0,
            begin=one.begin,
            offered=seen.counts["due"] / (end - one.begin),
            completed=seen.counts["completed"] / (end - one.begin),
            failed=seen.counts["failed"],
            p50=bucket_quantile(seen.latencies, 0.5),
            p99=bucket_quantile(seen.latencies, 0.99),
            never=seen.latencies[NEVER_BUCKET],
        )


def _counts(document: Mapping[str, Any]) -> Iterator[tuple[str, float, bool]]:
    counts = {"planned": document["planned"], **document["counts"]}
    for name in _COUNTS:
        yield name, counts[name], bool(counts[name]) and name in _BAD
    for status, number in counts["terminal"].items():
        yield f"ended as {status}", number, False


def _p99s(document: Mapping[str, Any]) -> Mapping[str, float | str | None]:
    return {name: (row["latency"] or {}).get("p99") for name, row in document["rows"].items()}


def stages_within(placed: Iterable[PlacedStage], seconds: float) -> list[PlacedStage]:
    """The stages that begin before a second, of a schedule that may have no end."""
    found: list[PlacedStage] = []
    for one in placed:
        if one.begin >= seconds or len(found) >= MOST_STAGES:
            break
        found.append(one)
    return found
