"""The parameters of the model of agent work; every one is public, and each preset gives its sources.

A parameter is either published (its docstring or the preset names the source), fitted (so that a published figure is
met which is a consequence, such as the time of a request), or assumed (no figure is published; the preset says so).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.load.agents.quantiles import Quantiles


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSize:
    """How many requests a session has, and how many tool calls a request has. Values are rounded down.

    `requests` of a session. `calls` of a request in a session of several requests; `calls_alone` of the request of a
    session that has only one, which is longer in the traces: it is a job of its own, or a subagent.
    `calls_of_step` are the probabilities of 1, 2, 3, ... tool calls in one step.
    """

    requests: Quantiles
    calls: Quantiles
    calls_alone: Quantiles
    calls_of_step: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCounts:
    """The tokens of one LLM call.

    `output_acting` are the output tokens of a step that ends in tool calls, `output_answer` those of the last step of a
    request. `new_input` is what a step appends to the context. A session begins with `first_context` tokens (system
    prompt and tool definitions), and is compacted to `compacted` tokens when its context exceeds its window; `windows`
    are (tokens, weight). The provider's cache of the prefix is lost with the probability `lost_cache_user` in the first
    step of a later request (the user was away) and `lost_cache_tool` in any other step: the whole context is new then.
    """

    output_acting: Quantiles
    output_answer: Quantiles
    new_input: Quantiles
    first_context: Quantiles
    compacted: Quantiles
    windows: tuple[tuple[float, float], ...]
    lost_cache_user: float
    lost_cache_tool: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LlmTimes:
    """The time of an LLM call in seconds: the time to the first token, and the time of each further output token.

    `failures` is the probability that an attempt fails (429, 5xx); the caller waits `backoff` seconds, twice as long
    after each further failure, and gives the step up after `attempts`.
    """

    first_token: Quantiles
    per_token: Quantiles
    failures: float = 0.0
    backoff: float = 1.0
    attempts: int = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolTimes:
    """The latency of a tool call in seconds, and the probability that it fails.

    A failed call is an error that the model reads; the repetition is a tool call of the next step, and the number of
    tool calls includes it. `alike` is the correlation (0 to 1, a Gaussian copula) of the calls of one phase of a
    request: the distribution of one call stays the same, but slow calls come together. A phase has `phase` calls.
    """

    seconds: Quantiles
    failures: float
    alike: float = 0.0
    phase: int = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """How requests reach the queue, and what their users do.

    Sessions are spread over `conversations` lock keys; the probability of the k-th is proportional to k ** -`zipf`.
    The share `canceled` of the requests is canceled by its user after `patience` seconds if it has not ended. A client
    reads the status of a request every `poll_every` seconds (None: it does not poll). The share `fan_out` of the
    requests starts `subagents` agents of its own, each with one request.
    """

    conversations: int = 100
    zipf: float = 1.0
    canceled: float = 0.0
    patience: Quantiles = field(default_factory=lambda: Quantiles(((0, 1), (0.5, 20), (0.9, 120))))
    poll_every: float | None = None
    fan_out: float = 0.0
    subagents: Quantiles = field(default_factory=lambda: Quantiles(((0, 1), (0.5, 3), (0.9, 6)), largest=12))


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentParameters:
    """All parameters of one kind of agent work."""

    name: str
    size: SessionSize
    tokens: TokenCounts
    llm: LlmTimes
    tools: ToolTimes
    demand: Demand
    sources: Mapping[str, str]
