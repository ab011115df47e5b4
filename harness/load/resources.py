"""What a load used, by name: the gauges that are sampled, their units, and the figures that the verdict has of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from harness.environments.log_errors import LoggedErrors
from harness.load.series import LoadSeries
from harness.report.scales import DASH, number_text, seconds_text

CPU, BYTES, BYTES_PER_SECOND, PER_SECOND, NUMBER = "%", "bytes", "bytes/s", "/s", ""
WAL = "Postgres WAL"
NOT_SAMPLED = "no sample was taken during the load"


class GaugeKind(NamedTuple):
    """The unit of a gauge and what it is; `per_task` is the unit of its total for each acknowledged task, if any."""

    unit: str
    what: str
    per_task: str | None = None


QUEUE_GAUGES: Mapping[str, GaugeKind] = {
    "queue depth": GaugeKind(NUMBER, "tasks that wait, of all queues of the load"),
    "in flight": GaugeKind(NUMBER, "tasks that are leased"),
    "slots in use": GaugeKind(
        NUMBER, "leased tasks of the registered workers: each has a slot of its worker"
    ),
    "workers": GaugeKind(NUMBER, "worker processes that are registered at the queues"),
}
ENDPOINT_GAUGES: Mapping[str, GaugeKind] = {
    "LLM endpoint CPU": GaugeKind(CPU, "CPU of the endpoint of --load-meter, in % of one core", "seconds"),
    "LLM endpoint memory": GaugeKind(BYTES, "memory of the endpoint of --load-meter"),
}
"""The gauges of a load that has an endpoint."""
RESOURCE_GAUGES: Mapping[str, GaugeKind] = {
    "workers CPU": GaugeKind(CPU, "CPU of the worker processes, in % of one core", "seconds"),
    "workers memory": GaugeKind(BYTES, "memory of the worker processes, what they share counted once"),
    "Postgres CPU": GaugeKind(CPU, "CPU of all processes of the server, in % of one core", "seconds"),
    "Postgres memory": GaugeKind(
        BYTES, "memory of all processes of the server, what they share counted once"
    ),
    WAL: GaugeKind(BYTES_PER_SECOND, "write-ahead log of the whole server, also of its other users", "bytes"),
    "Postgres commits": GaugeKind(PER_SECOND, "transactions of the database, also of its other users"),
    "Redis CPU": GaugeKind(CPU, "CPU of the server by its INFO, in % of one core", "seconds"),
    "Redis memory": GaugeKind(BYTES, "used_memory of the server's INFO"),
    "Redis commands": GaugeKind(PER_SECOND, "commands of the whole server, also those in scripts", ""),
    **ENDPOINT_GAUGES,
    "generator CPU": GaugeKind(CPU, "CPU of the busiest process of the load generator, in % of one core"),
    "generator memory": GaugeKind(BYTES, "memory of the largest process of the load generator"),
}
GAUGES: Mapping[str, GaugeKind] = {**QUEUE_GAUGES, **RESOURCE_GAUGES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """One gauge of a load: its mean and its maximum over all samples, and its total for each acknowledged task.

    All are None if it was not measurable; `why` is the reason, or what the values leave out.
    """

    name: str
    unit: str
    mean: float | None = None
    most: float | None = None
    per_task: float | None = None
    why: str = ""

    def to_value(self) -> dict[str, Any]:
        """As JSON."""
        value = asdict(self)
        return {"name": value.pop("name"), "unit": value.pop("unit"), "max": value.pop("most"), **value}


@dataclass(kw_only=True, slots=True)
class Sample:
    """The values of the gauges of one source at one moment.

    `levels` are gauges as they are. `totals` only grow, such as seconds of CPU: their gauges are what they grow in a
    second. `epochs` say which count a total belongs to: with another text it began at 0 anew. `notes` say why a gauge
    is not measurable, or what it leaves out.
    """

    levels: dict[str, float] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


class _Total(NamedTuple):
    at: float
    total: float
    epoch: str


@dataclass(kw_only=True)
class Sampled:
    """What was sampled: gauges by second, `totals` of those that count, `notes` on what is missing, and the logs.

    `sums` are the sum and the number of all values of a gauge: a second of the series has their maximum, and in a long
    run several seconds are one.
    """

    series: LoadSeries = field(default_factory=LoadSeries)
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    logs: Sequence[LoggedErrors] = ()
    _last: dict[str, _Total] = field(default_factory=dict)

    def add(self, sample: Sample, *, at: float, second: float | None) -> None:
        """Add a sample that was taken at a `second` since the start of the load, and `at` in seconds of any clock.

        `second` is 0 before the load, which begins the totals, and None after it, which ends them.
        """
        self.notes |= sample.notes
        if second:
            for name, level in sample.levels.items():
                self.gauge(second, name, level)
        for name, total in sample.totals.items():
            before, now = self._last.get(name), _Total(at, total, sample.epochs.get(name, ""))
            self._last[name] = now
            if before is not None and second != 0:
                self._grow(name, before, now, second)

    def note_missing(self, names: Iterable[str], why: str) -> None:
        """Say of gauges why values are missing, unless that is known."""
        for name in names:
            self.notes.setdefault(name, why)

    def _grow(self, name: str, before: _Total, now: _Total, second: float | None) -> None:
        grown = now.total - (before.total if before.epoch == now.epoch else 0.0)
        if grown < 0:  # a crash took what was not on the disk, or the server does not say that it began anew
            return
        self.totals[name] = self.totals.get(name, 0.0) + grown
        if second and (seconds := now.at - before.at) > 0:
            factor = 100.0 if GAUGES[name].unit == CPU else 1.0
            self.gauge(second, name, factor * grown / seconds)

    def gauge(self, second: float, name: str, value: float) -> None:
        """Note a value that was seen at a second since the start of the load."""
        self.series.gauge(second, name, value)
        total, number = self.sums.get(name, (0.0, 0))
        self.sums[name] = total + value, number + 1

    def per_task(self, name: str, acknowledged: int) -> float | None:
        """The total of a gauge for each acknowledged task; None if there is none."""
        total = self.totals.get(name)
        return None if total is None or not acknowledged else total / acknowledged

    @property
    def log_errors(self) -> int | None:
        """The errors in the logs of all servers; None if one of the logs cannot be read."""
        counts = [one.count for one in self.logs if one.count is not None]
        return sum(counts) if counts and len(counts) == len(self.logs) else None


def resources(sampled: Sampled, series: LoadSeries, acknowledged: int) -> Iterator[Resource]:
    """All gauges of a load in a fixed order; `series` has those of all its processes."""
    for name, kind in GAUGES.items():
        values = [one.gauges[name] for one in series.slices.values() if name in one.gauges]
        if name in ENDPOINT_GAUGES and not values and name not in sampled.notes:
            continue
        total, number = sampled.sums.get(name, (sum(values), len(values)))
        yield Resource(
            name=name,
            unit=kind.unit,
            mean=total / number if number else None,
            most=max(values, default=None),
            per_task=None if kind.per_task is None else sampled.per_task(name, acknowledged),
            why=sampled.notes.get(name, "" if values else NOT_SAMPLED),
        )


def amount_text(value: float | None, unit: str) -> str:
    """An amount for people: `85 %`, `12.3 MB/s`, `1,234/s`; a dash for None."""
    match unit:
        case _ if value is None:
            return DASH
        case "%":
            return f"{number_text(round(value, 1))} %"
        case "bytes" | "bytes/s":
            return f"{_bytes_text(value)}{'/s' if unit == BYTES_PER_SECOND else ''}"
        case "/s":
            return f"{number_text(round(value, 1))}/s"
        case "seconds":
            return f"{value * 1000:.3g} ms" if value < 0.1 else seconds_text(value)
        case _:
            return number_text(round(value, 2))


def per_task_text(name: str, value: float | None) -> str:
    """The total of a gauge for each task, for people."""
    kind = GAUGES.get(name)
    return amount_text(value, (kind.per_task if kind else None) or NUMBER)


def _bytes_text(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
