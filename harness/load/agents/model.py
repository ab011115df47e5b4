"""The generative model of agent work: sessions -> requests -> steps -> LLM calls and tool calls.

Everything is a pure function of the parameters and the seed. Sizes, times and tokens come from generators of their own,
so that the sizes of a session are known without its steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count
from math import erf
from random import Random

from harness.draws import seeded
from harness.load.agents.parameters import AgentParameters, ToolTimes
from harness.load.agents.work import AgentCall, AgentStep, AgentWork

_ROOT_HALF = 0.5**0.5
# The largest quantile that a correlated draw may reach; 1 itself has no finite value.
_ALMOST_ONE = 1 - 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentSession:
    """A session: the number of tool calls of each of its requests."""

    number: int
    calls: tuple[int, ...]


class AgentModel:
    """Draws sessions and requests of one kind of agent; the same seed gives the same work, in any order of calls."""

    def __init__(self, parameters: AgentParameters, seed: int) -> None:
        self.parameters = parameters
        self._seed = f"{seed}/agents/{parameters.name}"
        self._call_counts = list(accumulate(parameters.size.calls_of_step))
        self._popularity = list(
            accumulate(
                rank**-parameters.demand.zipf for rank in range(1, parameters.demand.conversations + 1)
            )
        )

    def session(self, number: int) -> AgentSession:
        """The sizes of session `number`."""
        draw, size = self._draw(f"session/{number}"), self.parameters.size
        requests = max(1, int(size.requests.value(draw.random())))
        calls = size.calls_alone if requests == 1 else size.calls
        sizes = tuple(int(calls.value(draw.random())) for _ in range(requests))
        return AgentSession(number=number, calls=sizes)

    def requests(self, session: AgentSession) -> Iterator[AgentWork]:
        """The requests of a session in order; the context of the model grows from one to the next."""
        context = _Context(self.parameters, self._draw(f"context/{session.number}"))
        for turn in range(len(session.calls)):
            yield self.request(session, turn, context)

    def request(self, session: AgentSession, turn: int, context: _Context | None = None) -> AgentWork:
        """One request alone: its times and calls are those of `requests`, its input tokens those of a new context."""
        demand, draw = self.parameters.demand, self._draw(f"request/{session.number}/{turn}")
        context = context or _Context(self.parameters, self._draw(f"context/{session.number}"))
        steps = self._steps(draw, session.calls[turn], context)
        cancel = demand.patience.value(draw.random()) if draw.random() < demand.canceled else None
        helpers = int(demand.subagents.value(draw.random())) if draw.random() < demand.fan_out else 0
        return AgentWork(
            session=session.number,
            turn=turn,
            steps=steps,
            cancel_after=cancel,
            poll_every=demand.poll_every,
            subagents=tuple(self._subagent(session, turn, place) for place in range(helpers)),
        )

    def works(self) -> Iterator[AgentWork]:
        """Requests without end, as they reach a queue: many conversations at once, each in its order.

        Every conversation has one open session at a time and a lock key; the next request is one of the conversation
        that Zipf's law gives.
        """
        draw, numbers = self._draw("works"), count()
        opened: dict[int, Iterator[AgentWork]] = {}
        while True:
            place = bisect_right(self._popularity, draw.random() * self._popularity[-1])
            work = next(opened[place], None) if place in opened else None
            if work is None:
                opened[place] = self.requests(self.session(next(numbers)))
                work = next(opened[place])
            yield replace(work, conversation=f"conversation-{place + 1}")

    def tool_seconds(self, calls: int, draw: Random) -> float:
        """The tool time of another request with this number of tool calls."""
        shares = _Alike(draw, self.parameters.tools)
        return sum(self.parameters.tools.seconds.value(shares.draw()) for _ in range(calls))

    def _subagent(self, session: AgentSession, turn: int, place: int) -> AgentWork:
        name = f"subagent/{session.number}/{turn}/{place}"
        draw = self._draw(name)
        calls = int(self.parameters.size.calls_alone.value(draw.random()))
        context = _Context(self.parameters, self._draw(f"context/{name}"))
        return AgentWork(session=session.number, turn=turn, steps=self._steps(draw, calls, context))

    def _steps(self, draw: Random, calls: int, context: _Context) -> tuple[AgentStep, ...]:
        shares = _Alike(draw, self.parameters.tools)
        steps: list[AgentStep] = []
        while calls > 0:
            number = min(calls, 1 + bisect_right(self._call_counts, draw.random()))
            calls -= number
            tools = tuple(self._call(draw, shares) for _ in range(number))
            steps.append(self._step(draw, tools, context, first=not steps))
        steps.append(self._step(draw, (), context, first=not steps))
        return tuple(steps)

    def _call(self, draw: Random, shares: _Alike) -> AgentCall:
        tools = self.parameters.tools
        return AgentCall(tools.seconds.value(shares.draw()), draw.random() < tools.failures)

    def _step(
        self, draw: Random, calls: tuple[AgentCall, ...], context: _Context, *, first: bool
    ) -> AgentStep:
        tokens, llm = self.parameters.tokens, self.parameters.llm
        output = tokens.output_acting if calls else tokens.output_answer
        failures = 0
        while failures < llm.attempts - 1 and llm.failures and draw.random() < llm.failures:
            failures += 1
        new, cached = context.extend(first=first)
        return AgentStep(
            new_input=new,
            cached_input=cached,
            output=int(output.value(draw.random())),
            first_token=llm.first_token.value(draw.random()),
            per_token=llm.per_token.value(draw.random()),
            calls=calls,
            failures=failures,
            waits=llm.backoff * (2**failures - 1),
        )

    def _draw(self, name: str) -> Random:
        return seeded(self._seed, name)


class _Alike:
    """Draws numbers that are uniform in [0, 1) each; those of one phase have a Gaussian copula with one correlation."""

    def __init__(self, draw: Random, tools: ToolTimes) -> None:
        self._draw = draw
        self._tools = tools
        self._own = (1 - tools.alike) ** 0.5
        self._common = 0.0
        self._left = 0

    def draw(self) -> float:
        """The next number."""
        if not self._tools.alike:
            return self._draw.random()
        if self._left == 0:
            self._left = self._tools.phase
            self._common = self._tools.alike**0.5 * self._draw.gauss()
        self._left -= 1
        normal = self._common + self._own * self._draw.gauss()
        return min(0.5 + 0.5 * erf(normal * _ROOT_HALF), _ALMOST_ONE)


class _Context:
    """The context of a session: it grows with each step, and is compacted when it exceeds the window."""

    def __init__(self, parameters: AgentParameters, draw: Random) -> None:
        self._tokens = parameters.tokens
        self._draw = draw
        self._size = 0
        windows, weights = zip(*parameters.tokens.windows, strict=True)
        (self._window,) = draw.choices(windows, weights)

    def extend(self, *, first: bool) -> tuple[int, int]:
        """The next step: its new and its cached input tokens; `first` of a request."""
        tokens, draw = self._tokens, self._draw
        added = int(tokens.new_input.value(draw.random()))
        if self._size == 0:
            self._size = int(tokens.first_context.value(draw.random())) + added
            return self._size, 0
        lost = draw.random() < (tokens.lost_cache_user if first else tokens.lost_cache_tool)
        if self._size + added > self._window:
            self._size, lost = int(tokens.compacted.value(draw.random())), True
        cached = 0 if lost else self._size
        self._size += added
        return self._size - cached, cached
