"""A profile of the simulated LLM endpoint whose answers are all alike."""

from __future__ import annotations

from harness.llm import EndpointProfile, LognormalDistribution


def steady_profile(*, steps: int, tokens: int) -> EndpointProfile:
    """Answers of `tokens` tokens in about 2 ms each; all but the last of `steps` answers have one tool call."""
    constant = LognormalDistribution
    first_token = tokens / 1000
    return EndpointProfile(
        first_token=constant(first_token, first_token),
        per_token=constant(0.001, 0.001),
        output_tokens=constant(tokens, tokens),
        tool_rounds=constant(steps - 1, steps - 1),
        tool_calls=constant(1, 1),
        tool_time=constant(0.01, 0.01),
    )
