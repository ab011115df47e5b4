"""Agent work in a handler: sleeps, calls of a model, and steps that a checkpoint leaves out."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest

from harness.llm import EndpointProfile, serving
from harness.load.agents import AgentCall, AgentStep, AgentWork, perform, step_headers
from loadtests.app import agent
from loadtests.work import AgentPlan

STEPS = (
    AgentStep(100, 0, 10, 0.2, 0.01, (AgentCall(3.0), AgentCall(4.0, failed=True))),
    AgentStep(50, 100, 20, 0.5, 0.02, (AgentCall(5.0),), failures=1, waits=1.0),
    AgentStep(10, 150, 100, 0.1, 0.01),
)
WORK = AgentWork(session=1, turn=0, steps=STEPS)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps, which take no time."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(round(delay, 9))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return seconds


def test_a_step_sleeps_for_its_model_and_then_for_each_tool_call(slept: list[float]) -> None:
    assert asyncio.run(perform(WORK)) == 3
    assert slept == [0.3, 3.0, 4.0, 1.9, 5.0, 1.1]
    assert sum(slept) == pytest.approx(WORK.seconds)


def test_a_run_after_a_checkpoint_performs_the_other_steps_with_their_numbers(slept: list[float]) -> None:
    done: list[tuple[int, AgentStep]] = []

    async def on_step(number: int, step: AgentStep) -> None:
        done.append((number, step))

    assert asyncio.run(perform(WORK, first=2, on_step=on_step)) == 2
    assert done == [(2, STEPS[1]), (3, STEPS[2])]
    assert slept == [1.9, 5.0, 1.1]


def test_a_model_is_called_instead_of_a_sleep(slept: list[float]) -> None:
    called: list[tuple[int, AgentStep]] = []

    async def llm(number: int, step: AgentStep) -> None:
        called.append((number, step))

    asyncio.run(perform(WORK, llm=llm))
    assert called == list(enumerate(STEPS, 1))
    assert slept == [3.0, 4.0, 5.0]


def test_the_simulated_endpoint_answers_and_meters_the_steps_of_the_plan(slept: list[float]) -> None:
    with serving(EndpointProfile(time_scale=1000)) as endpoint:

        async def llm(number: int, step: AgentStep) -> None:
            headers = {"Authorization": f"Bearer {endpoint.api_key}", **step_headers("a-1", number, step)}
            body = {"model": "any", "messages": [{"role": "user", "content": "Go on."}]}
            async with httpx.AsyncClient(base_url=endpoint.base_url, timeout=60) as client:
                answer = await client.post("/chat/completions", json=body, headers=headers)
                answer.raise_for_status()

        asyncio.run(perform(WORK, llm=llm))
        metered = endpoint.records("a-1").requests
    assert [one.step for one in metered] == ["1", "2", "3"]
    assert [(one.prompt_tokens, one.cached_tokens, one.completion_tokens) for one in metered] == [
        (step.new_input + step.cached_input, step.cached_input, step.output) for step in STEPS
    ]


def test_the_task_of_the_load_performs_the_plan_of_its_context(slept: list[float]) -> None:
    answer = asyncio.run(agent(agent_id=uuid4(), context=AgentPlan(work=WORK.to_value())))
    assert (answer.steps, answer.calls, answer.output_tokens) == (3, 3, 130)
    assert slept == [0.3, 3.0, 4.0, 1.9, 5.0, 1.1]
