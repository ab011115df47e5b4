"""Four kinds of agent work as parameters: `coding-agent`, `chat`, `research`, `batch-documents`.

Sources of the figures:

- TraceLab: "TraceLab: Characterizing Coding Agent Workloads for LLM Serving", arXiv 2606.30560; 4,265 sessions of
  Claude Code and Codex with 357,161 steps and 432,510 tool calls; tables at https://tracelab.cs.washington.edu
- Azure 2023: "Splitwise", arXiv 2311.18677, with the traces `code` and `conv` of AzurePublicDataset.
- BurstGPT: arXiv 2401.17644; 10.31 million requests in 213 days.
- Mooncake: arXiv 2407.00079, with the traces `conversation` and `toolagent`.

A figure without a source in `sources` is fitted to the published figures of `harness.load.agents.published`, or assumed
where `sources` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import UsageError
from harness.load.agents.parameters import (
    AgentParameters,
    Demand,
    LlmTimes,
    SessionSize,
    TokenCounts,
    ToolTimes,
)
from harness.load.agents.quantiles import Quantiles

_HOUR = 3600.0
_NO_CALLS = Quantiles(((0.999999, 1),))
_ONE = Quantiles(((0, 1),), largest=1)

CODING_AGENT = AgentParameters(
    name="coding-agent",
    size=SessionSize(
        requests=Quantiles(
            ((0, 1), (0.56, 1.001), (0.61, 2), (0.9, 18.1), (0.96, 46), (0.99, 140)), tail=1.6, largest=2000
        ),
        calls=Quantiles(
            ((0.30, 1), (0.48, 2), (0.75, 7.5), (0.9, 27.9), (0.99, 90)), tail=1.52, largest=2000
        ),
        calls_alone=Quantiles(
            ((0.05, 1), (0.25, 8), (0.5, 22.4), (0.9, 78), (0.99, 280)), tail=2, largest=2000
        ),
        calls_of_step=(0.72, 0.17, 0.06, 0.05),
    ),
    tokens=TokenCounts(
        output_acting=Quantiles(((0, 20), (0.5, 205), (0.9, 860), (0.99, 3700)), tail=1.7, largest=32_000),
        output_answer=Quantiles(((0, 30), (0.5, 1080), (0.9, 2500), (0.99, 6000)), tail=1.8, largest=32_000),
        new_input=Quantiles(((0, 30), (0.5, 840), (0.9, 4300), (0.99, 20_000)), tail=2, largest=100_000),
        first_context=Quantiles(((0, 6000), (0.5, 18_000), (0.9, 40_000)), tail=3, largest=150_000),
        compacted=Quantiles(((0, 15_000), (0.5, 46_000), (0.9, 90_000)), tail=4, largest=120_000),
        windows=((200_000, 2), (258_000, 7), (1_000_000, 3)),
        lost_cache_user=0.14,
        lost_cache_tool=0.01,
    ),
    llm=LlmTimes(
        first_token=Quantiles(((0, 0.4), (0.5, 1.75), (0.9, 5.9), (0.99, 20)), tail=1.3, largest=900),
        per_token=Quantiles(((0, 0.007), (0.5, 0.0132), (0.9, 0.021), (0.99, 0.05)), tail=3, largest=0.3),
    ),
    tools=ToolTimes(
        seconds=Quantiles(
            (
                (0.247, 0.002),
                (0.43, 0.055),
                (0.6235, 0.3),
                (0.81, 1.6),
                (0.9247, 13),
                (0.9701, 60),
                (0.99247, 197),
            ),
            tail=1.12,
            largest=36 * _HOUR,
        ),
        failures=0.0513,
        alike=0.27,
    ),
    demand=Demand(conversations=200, zipf=0.9, canceled=0.05, poll_every=2.0, fan_out=0.05),
    sources=MappingProxyType(
        {
            "size.requests": "TraceLab: requests per session, p25 / p50 / p90 / p99 of 1 / 1 / 18 / 137, mean 9.2",
            "size.calls": "TraceLab: fitted to 2 / 30 / 113 tool calls per request and 25 / 176 / 1,438 per session",
            "size.calls_of_step": "TraceLab: 1 / 2 / 4 tool calls per step with any, mean 1.2 over all steps",
            "tokens.output": "TraceLab: median 214, mean 520; the answer is longer than the steps before it (fitted)",
            "tokens.new_input": "TraceLab: median 875",
            "tokens.windows": "TraceLab: fitted to the median of 118,656 cached tokens",
            "tokens.lost_cache": "TraceLab: 85.6 % of the input is cached in the first step of a request, 97.6 % later",
            "llm": "TraceLab: 13.8 ms per token after the reasoning, time to first token median 1.5 to 2.9 s (Codex); "
            "fitted to 4.9 / 20.2 / 78 s a step",
            "tools.seconds": "TraceLab: 0.3 / 13.6 / 216 s where it is above 0 (75.3 % of the calls), mean 18.4 s",
            "tools.failures": "TraceLab: 22,184 of 432,510 calls ended in an error",
            "tools.alike": "TraceLab: fitted to 38.3 s / 6.4 min / 43.9 min a request",
            "demand": "assumed",
        }
    ),
)

CHAT = AgentParameters(
    name="chat",
    size=SessionSize(
        requests=Quantiles(((0, 1), (0.4, 1.001), (0.5, 2), (0.9, 6), (0.99, 15)), tail=2, largest=200),
        calls=_NO_CALLS,
        calls_alone=_NO_CALLS,
        calls_of_step=(1.0,),
    ),
    tokens=TokenCounts(
        output_acting=_ONE,
        output_answer=Quantiles(
            ((0, 5), (0.25, 55), (0.5, 129.5), (0.9, 400), (0.99, 601)), tail=4, largest=2000
        ),
        new_input=Quantiles(((0, 10), (0.5, 170), (0.9, 480), (0.99, 900)), tail=3, largest=2000),
        first_context=Quantiles(((0, 60), (0.5, 480), (0.9, 1900), (0.99, 3000)), tail=4, largest=3600),
        compacted=Quantiles(((0, 300), (0.5, 900)), tail=4, largest=2000),
        windows=((4400, 1),),
        lost_cache_user=0.2,
        lost_cache_tool=0.0,
    ),
    llm=LlmTimes(
        first_token=Quantiles(((0, 0.06), (0.5, 0.085), (0.9, 0.12)), tail=3, largest=30),
        per_token=Quantiles(((0, 0.010), (0.5, 0.0125), (0.9, 0.015)), tail=6, largest=0.1),
        failures=0.05,
    ),
    tools=ToolTimes(seconds=_ONE, failures=0.0),
    demand=Demand(conversations=1000, zipf=1.0, canceled=0.03, poll_every=1.0),
    sources=MappingProxyType(
        {
            "tokens.output": "Azure 2023 conversation: p50 / p99 of 129 / 601",
            "tokens.input": "Azure 2023 conversation: fitted to a context of p50 / p99 1,020 / 4,142",
            "llm.first_token, llm.per_token": "an 8B model on an H100: 60 to 120 ms, and 10 to 15 ms per token",
            "llm.failures": "BurstGPT: above 5 % in some services",
            "size, demand": "assumed",
        }
    ),
)

RESEARCH = AgentParameters(
    name="research",
    size=SessionSize(
        requests=Quantiles(((0, 1), (0.7, 1.001), (0.75, 2), (0.9, 4)), tail=2, largest=30),
        calls=Quantiles(((0.05, 1), (0.5, 8), (0.9, 24)), tail=3, largest=100),
        calls_alone=Quantiles(((0.05, 1), (0.5, 8), (0.9, 24)), tail=3, largest=100),
        calls_of_step=(0.5, 0.2, 0.2, 0.1),
    ),
    tokens=TokenCounts(
        output_acting=Quantiles(((0, 10), (0.5, 65), (0.9, 230)), tail=2.5, largest=4000),
        output_answer=Quantiles(((0, 60), (0.5, 520), (0.9, 1600)), tail=2.5, largest=8000),
        new_input=Quantiles(((0, 60), (0.5, 330), (0.9, 950)), tail=2.5, largest=10_000),
        first_context=Quantiles(((0, 1200), (0.5, 2200), (0.9, 4400)), tail=3, largest=20_000),
        compacted=Quantiles(((0, 2000), (0.5, 6000)), tail=4, largest=20_000),
        windows=((32_000, 1),),
        lost_cache_user=0.3,
        lost_cache_tool=0.02,
    ),
    llm=LlmTimes(
        first_token=Quantiles(((0, 0.3), (0.5, 1.2), (0.9, 4), (0.99, 15)), tail=2, largest=300),
        per_token=Quantiles(((0, 0.010), (0.5, 0.0138), (0.9, 0.025)), tail=3, largest=0.2),
        failures=0.02,
    ),
    tools=ToolTimes(
        seconds=Quantiles(((0, 0.1), (0.5, 1.5), (0.9, 6), (0.99, 40)), tail=1.5, largest=_HOUR),
        failures=0.08,
        alike=0.2,
    ),
    demand=Demand(conversations=50, zipf=0.8, canceled=0.05, poll_every=5.0, fan_out=0.4),
    sources=MappingProxyType(
        {
            "tokens": "Mooncake tool agent: fitted to means of 8,596 input and 182 output tokens of an LLM call",
            "size, llm, tools, demand": "assumed: searches of a second or two, three to six subagents",
        }
    ),
)

BATCH_DOCUMENTS = AgentParameters(
    name="batch-documents",
    size=SessionSize(requests=_ONE, calls=_NO_CALLS, calls_alone=_ONE, calls_of_step=(1.0,)),
    tokens=TokenCounts(
        output_acting=Quantiles(((0, 10), (0.5, 30)), tail=5, largest=200),
        output_answer=Quantiles(((0, 50), (0.5, 590), (0.9, 1450)), tail=3, largest=8000),
        new_input=Quantiles(((0, 300), (0.5, 4400), (0.9, 18_000)), tail=2.5, largest=100_000),
        first_context=Quantiles(((0, 800), (0.5, 1500)), tail=5, largest=5000),
        compacted=Quantiles(((0, 2000), (0.5, 6000)), tail=4, largest=20_000),
        windows=((200_000, 1),),
        lost_cache_user=0.0,
        lost_cache_tool=0.0,
    ),
    llm=LlmTimes(
        first_token=Quantiles(((0, 0.3), (0.5, 1.0), (0.9, 3), (0.99, 10)), tail=2, largest=120),
        per_token=Quantiles(((0, 0.010), (0.5, 0.0125), (0.9, 0.015)), tail=6, largest=0.1),
        failures=0.05,
    ),
    tools=ToolTimes(
        seconds=Quantiles(((0, 0.05), (0.5, 0.4), (0.9, 3), (0.99, 20)), tail=1.5, largest=600), failures=0.02
    ),
    demand=Demand(conversations=1, zipf=0.0, poll_every=30.0),
    sources=MappingProxyType(
        {
            "tokens": "Mooncake conversation (long documents): fitted to means of 12,035 input and 343 output tokens",
            "llm.first_token, llm.per_token": "an 8B model on an H100, with a long prefill (assumed)",
            "llm.failures": "BurstGPT: above 5 % in some services",
            "size, tools, demand": "assumed: one step that fetches the document, one that answers",
        }
    ),
)

PRESETS: Mapping[str, AgentParameters] = MappingProxyType(
    {preset.name: preset for preset in (CODING_AGENT, CHAT, RESEARCH, BATCH_DOCUMENTS)}
)


def preset(name: str) -> AgentParameters:
    """The preset of a name; raises `UsageError` that lists the known names."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r} of agent work. Known: {', '.join(PRESETS)}.")
    return PRESETS[name]
