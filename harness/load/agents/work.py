"""`AgentWork`: the plan of one agent request, as a value that fits into the context of a task.

A handler performs it step by step: it waits for the model (`AgentStep.llm_seconds`, or a real call of the same sizes to
an LLM endpoint), and then for each tool call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class AgentCall(NamedTuple):
    """A tool call: its seconds, and whether it fails."""

    seconds: float
    failed: bool = False


class AgentStep(NamedTuple):
    """One LLM call and the tool calls that follow from its answer, which run one after another.

    `first_token` is in seconds, `per_token` in seconds for each output token. `failures` attempts fail before the one
    that succeeds, and the caller waits `waits` seconds between them in all.
    """

    new_input: int
    cached_input: int
    output: int
    first_token: float
    per_token: float
    calls: tuple[AgentCall, ...] = ()
    failures: int = 0
    waits: float = 0.0

    @property
    def llm_seconds(self) -> float:
        """From the request to the last output token, with the waits after failed attempts."""
        return self.waits + self.first_token + self.output * self.per_token

    @property
    def tool_seconds(self) -> float:
        """The sum over the tool calls."""
        return sum(call.seconds for call in self.calls)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentWork:
    """One request of a user: steps until the answer. All times are seconds.

    `session` and `turn` number it in its model; `conversation` is its lock key. The user cancels it after
    `cancel_after`, if that is given, and reads its status every `poll_every`. `subagents` are requests that this one
    starts with its first tool call, as tasks of their own.
    """

    session: int
    turn: int
    steps: tuple[AgentStep, ...]
    conversation: str | None = None
    cancel_after: float | None = None
    poll_every: float | None = None
    subagents: tuple[AgentWork, ...] = ()

    @property
    def seconds(self) -> float:
        """The time that the steps take one after another."""
        return sum(step.llm_seconds + step.tool_seconds for step in self.steps)

    @property
    def calls(self) -> int:
        """The number of tool calls."""
        return sum(len(step.calls) for step in self.steps)

    def scaled(self, time_scale: float) -> AgentWork:
        """The same work in `time_scale` times the time; tokens and calls stay."""
        return replace(
            self,
            steps=tuple(_scaled(step, time_scale) for step in self.steps),
            cancel_after=None if self.cancel_after is None else self.cancel_after * time_scale,
            poll_every=None if self.poll_every is None else self.poll_every * time_scale,
            subagents=tuple(work.scaled(time_scale) for work in self.subagents),
        )

    def to_value(self) -> dict[str, Any]:
        """A JSON-able value. A step is a list, because a long request has a thousand of them."""
        value: dict[str, Any] = {
            "session": self.session,
            "turn": self.turn,
            "steps": [_step_value(step) for step in self.steps],
        }
        options = {
            "conversation": self.conversation,
            "cancel_after": self.cancel_after,
            "poll_every": self.poll_every,
            "subagents": [work.to_value() for work in self.subagents] or None,
        }
        return {**value, **{name: option for name, option in options.items() if option is not None}}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> AgentWork:
        """The work of a `to_value`; raises `ValueError` for anything else."""
        try:
            return cls(
                session=int(value["session"]),
                turn=int(value["turn"]),
                steps=tuple(_step(step) for step in value["steps"]),
                conversation=value.get("conversation"),
                cancel_after=value.get("cancel_after"),
                poll_every=value.get("poll_every"),
                subagents=tuple(cls.from_value(work) for work in value.get("subagents", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError("This is no agent work; write what AgentWork.to_value returned.") from error


_DIGITS = 6


def _step_value(step: AgentStep) -> list[Any]:
    calls = [[round(call.seconds, _DIGITS), int(call.failed)] for call in step.calls]
    times = [round(step.first_token, _DIGITS), round(step.per_token, 2 * _DIGITS)]
    value = [step.new_input, step.cached_input, step.output, *times, calls]
    return [*value, step.failures, round(step.waits, _DIGITS)] if step.failures else value


def _step(value: Sequence[Any]) -> AgentStep:
    new, cached, output, first, per_token, calls, *failed = value
    failures, waits = failed or (0, 0.0)
    return AgentStep(
        new_input=int(new),
        cached_input=int(cached),
        output=int(output),
        first_token=float(first),
        per_token=float(per_token),
        calls=tuple(AgentCall(float(seconds), bool(failed)) for seconds, failed in calls),
        failures=int(failures),
        waits=float(waits),
    )


def _scaled(step: AgentStep, factor: float) -> AgentStep:
    return step._replace(
        first_token=step.first_token * factor,
        per_token=step.per_token * factor,
        waits=step.waits * factor,
        calls=tuple(call._replace(seconds=call.seconds * factor) for call in step.calls),
    )
