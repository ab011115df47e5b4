"""Published figures of agent work, and what the model gives for each: `python -m harness.load.agents`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from harness.load.agents.model import AgentModel
from harness.load.agents.presets import PRESETS
from harness.load.agents.work import AgentCall, AgentStep, AgentWork

T = TypeVar("T")

LONG_CALL_SECONDS = 60.0
# How often the tool calls of a request are drawn anew.
_AGAIN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFigure:
    """A figure of a paper: `key` of the quantity, and whether it is an input of the model or a consequence of it."""

    preset: str
    key: str
    value: float
    source: str
    is_input: bool = False


def _figures() -> Iterable[PublishedFigure]:
    def of(
        preset: str, source: str, keys: str, values: Sequence[float], *, is_input: bool = False
    ) -> Iterable[PublishedFigure]:
        for key, value in zip(keys.split(", "), values, strict=True):
            yield PublishedFigure(preset=preset, key=key, value=value, source=source, is_input=is_input)

    def quantiles(quantity: str) -> str:
        return ", ".join(f"{quantity} {quantile}" for quantile in ("p50", "p90", "p99"))

    coding, lab = "coding-agent", "TraceLab"
    yield from of(coding, lab, quantiles("requests per session"), (1, 18, 137), is_input=True)
    yield from of(coding, lab, quantiles("tool calls per request"), (2, 30, 113))
    yield from of(coding, lab, quantiles("tool calls per session"), (25, 176, 1438))
    yield from of(coding, lab, quantiles("request seconds"), (38.3, 6.4 * 60, 43.9 * 60))
    yield from of(coding, lab, quantiles("LLM seconds per step"), (4.9, 20.2, 78))
    yield from of(coding, lab, quantiles("tool seconds per step"), (0.1, 10, 192))
    yield from of(coding, lab, "long calls share", (0.0397,), is_input=True)
    yield from of(coding, lab, "long calls time share", (0.847,))
    tokens = "output tokens p50, new input tokens p50, cached input tokens p50"
    yield from of(coding, lab, tokens, (214, 875, 118_656))
    yield from of(coding, lab, "failed calls share", (22_184 / 432_510,), is_input=True)
    azure, mooncake = "Azure 2023", "Mooncake"
    yield from of("chat", azure, "output tokens p50, output tokens p99", (129, 601), is_input=True)
    yield from of("chat", azure, "input tokens p50, input tokens p99", (1020, 4142))
    yield from of("chat", "BurstGPT", "failed attempts share", (0.05,), is_input=True)
    yield from of("research", mooncake, "input tokens mean, output tokens mean", (8596, 182))
    yield from of("batch-documents", mooncake, "input tokens mean, output tokens mean", (12_035, 343))


FIGURES: tuple[PublishedFigure, ...] = tuple(_figures())


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSize:
    """How much is sampled: sizes of `sessions`, `requests` of these by systematic sampling, `whole` sessions."""

    sessions: int = 10_000
    requests: int = 8000
    whole: int = 2000


class AgentSample:
    """What a model gives, by the keys of the published figures.

    Sizes of sessions are cheap, so many are drawn. For the times, every n-th request is drawn in the order of the
    number of its tool calls, so the sizes add nothing to the sampling error. Input tokens depend on the requests
    before, so they are of whole sessions. The p99 of a request's time depends on few very slow calls: each request
    counts several times, with its LLM calls as they are and its tool calls drawn anew, which are independent of them.
    """

    def __init__(self, model: AgentModel, size: SampleSize) -> None:
        self.sessions = [model.session(number) for number in range(size.sessions)]
        some = self.sessions[: 1 + len(self.sessions) // 3]
        places = [(session, turn) for session in some for turn in range(len(session.calls))]
        chosen = _every_nth(places, size.requests, key=lambda place: place[0].calls[place[1]])
        self.requests = [model.request(*place) for place in chosen]
        whole = _every_nth(self.sessions, size.whole, key=lambda session: sum(session.calls))
        self.whole = [work for session in whole for work in model.requests(session)]
        draw = Random(size.requests)  # noqa: S311 - a sample, not a secret
        self.request_seconds = [
            seconds + model.tool_seconds(work.calls, draw)
            for work in self.requests
            for seconds in (sum(step.llm_seconds for step in work.steps),) * _AGAIN
        ]
        self._values: dict[str, list[float]] = {}

    def values(self, quantity: str) -> list[float]:
        """All values of a quantity, sorted."""
        if quantity not in self._values:
            self._values[quantity] = sorted(_QUANTITIES[quantity](self))
        return self._values[quantity]

    def figure(self, key: str) -> float:
        """The figure of a key, such as `request seconds p90`; raises `KeyError` for another one."""
        quantity, _, statistic = key.rpartition(" ")
        if statistic == "share":
            return _SHARES[quantity](self)
        values = self.values(quantity)
        if statistic == "mean":
            return sum(values) / len(values)
        return values[int(len(values) * int(statistic.removeprefix("p")) / 100)]


# Sessions of a coding agent have the longest tails, so their p99 needs the most of them.
_SIZES = {
    "coding-agent": SampleSize(sessions=60_000, requests=16_000, whole=1200),
    "chat": SampleSize(sessions=30_000, requests=25_000, whole=5000),
    "research": SampleSize(requests=4000, whole=1000),
}


def measured(*, seed: int = 1) -> list[tuple[PublishedFigure, float]]:
    """Each published figure, and what its preset gives in a sample of `seed`."""
    samples = {
        name: AgentSample(AgentModel(preset, seed), _SIZES.get(name, SampleSize()))
        for name, preset in PRESETS.items()
    }
    return [(figure, samples[figure.preset].figure(figure.key)) for figure in FIGURES]


def _every_nth(population: Iterable[T], number: int, *, key: Callable[[T], int]) -> list[T]:
    """About `number` of the population, evenly spaced in the order of `key`: systematic sampling."""
    ordered = sorted(population, key=key)
    step = max(1, len(ordered) // number)
    return ordered[step // 2 :: step]


def _steps(works: Iterable[AgentWork]) -> Iterator[AgentStep]:
    return (step for work in works for step in work.steps)


_QUANTITIES: dict[str, Callable[[AgentSample], Iterable[float]]] = {
    "requests per session": lambda sample: (len(session.calls) for session in sample.sessions),
    "tool calls per session": lambda sample: (sum(session.calls) for session in sample.sessions),
    "tool calls per request": lambda sample: (
        calls for session in sample.sessions for calls in session.calls
    ),
    "request seconds": lambda sample: sample.request_seconds,
    "LLM seconds per request": lambda sample: (
        sum(step.llm_seconds for step in work.steps) for work in sample.requests
    ),
    "tool seconds per request": lambda sample: (
        sum(step.tool_seconds for step in work.steps) for work in sample.requests
    ),
    "steps per request": lambda sample: (len(work.steps) for work in sample.requests),
    "LLM seconds per step": lambda sample: (step.llm_seconds for step in _steps(sample.requests)),
    "tool seconds per step": lambda sample: (step.tool_seconds for step in _steps(sample.requests)),
    "output tokens": lambda sample: (step.output for step in _steps(sample.requests)),
    "new input tokens": lambda sample: (step.new_input for step in _steps(sample.whole)),
    "cached input tokens": lambda sample: (step.cached_input for step in _steps(sample.whole)),
    "input tokens": lambda sample: (step.new_input + step.cached_input for step in _steps(sample.whole)),
}


def _calls(sample: AgentSample) -> list[AgentCall]:
    return [call for step in _steps(sample.requests) for call in step.calls]


def _failed_attempts(sample: AgentSample) -> float:
    failures = [step.failures for step in _steps(sample.requests)]
    return sum(failures) / (sum(failures) + len(failures))


def _long(sample: AgentSample) -> tuple[float, float]:
    seconds = [call.seconds for call in _calls(sample) if call.seconds > 0]
    long = [second for second in seconds if second >= LONG_CALL_SECONDS]
    return len(long) / len(seconds), sum(long) / sum(seconds)


_SHARES: dict[str, Callable[[AgentSample], float]] = {
    "long calls": lambda sample: _long(sample)[0],
    "long calls time": lambda sample: _long(sample)[1],
    "failed calls": lambda sample: sum(call.failed for call in _calls(sample)) / len(_calls(sample)),
    "failed attempts": _failed_attempts,
}


def figure_table(rows: Iterable[tuple[PublishedFigure, float]]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| preset | figure | source | published | model | difference | kind |",
        "|---|---|---|---|---|---|---|",
    ]
    for figure, value in rows:
        difference = f"{100 * (value / figure.value - 1):+.1f} %"
        kind = "input" if figure.is_input else "consequence"
        cells = (
            figure.preset,
            figure.key,
            figure.source,
            _number(figure.value),
            _number(value),
            difference,
            kind,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
