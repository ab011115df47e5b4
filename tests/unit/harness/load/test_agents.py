"""The model of agent work: it meets published figures, and is a pure function of its seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from harness.errors import UsageError
from harness.load.agents import PRESETS, AgentModel, AgentWork, preset
from harness.load.agents.__main__ import main
from harness.load.agents.published import FIGURES, PublishedFigure, figure_table, measured
from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "agents.md"


@pytest.fixture(scope="module")
def figures() -> list[tuple[PublishedFigure, float]]:
    """One sample of each preset. Its standard errors are in the page: at most 3 % of a figure."""
    return measured(seed=1)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.preset} {figure.key}")
def test_a_published_figure_is_reproduced_within_ten_percent(
    figure: PublishedFigure, figures: list[tuple[PublishedFigure, float]]
) -> None:
    value = dict(figures)[figure]
    assert value == pytest.approx(figure.value, rel=0.1)


def test_the_page_has_the_table_of_the_command(figures: list[tuple[PublishedFigure, float]]) -> None:
    assert figure_table(figures) in PAGE.read_text("utf-8"), "run python -m harness.load.agents figures"


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_seed_gives_the_same_work_and_another_seed_other_work(name: str) -> None:
    def drawn(seed: int) -> list[AgentWork]:
        return list(islice(AgentModel(PRESETS[name], seed).works(), 20))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("name", PRESETS)
def test_work_is_json_and_comes_back(name: str) -> None:
    for work in islice(AgentModel(PRESETS[name], 3).works(), 30):
        back = AgentWork.from_value(json.loads(json.dumps(work.to_value())))
        assert back.to_value() == work.to_value()
        assert back.seconds == pytest.approx(work.seconds, rel=1e-3)
        assert back.calls == work.calls


@pytest.mark.parametrize("value", [{}, {"session": 1}, {"session": 1, "turn": 0, "steps": [[1, 2]]}, [1]])
def test_a_value_that_is_no_work_is_refused_in_one_sentence(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"to_value returned\.$"):
        AgentWork.from_value(value)


def test_a_time_scale_changes_times_and_nothing_else() -> None:
    for work in islice(AgentModel(PRESETS["research"], 1).works(), 50):
        scaled = work.scaled(0.01)
        assert scaled.seconds == pytest.approx(work.seconds / 100)
        assert [step.output for step in scaled.steps] == [step.output for step in work.steps]
        assert scaled.calls == work.calls
        assert [one.seconds for one in scaled.subagents] == pytest.approx(
            [one.seconds / 100 for one in work.subagents]
        )


def test_a_request_alone_has_the_times_it_has_in_its_session() -> None:
    model = AgentModel(PRESETS["coding-agent"], 5)
    session = next(found for found in map(model.session, range(100)) if 3 <= len(found.calls) <= 20)
    for turn, work in enumerate(model.requests(session)):
        alone = model.request(session, turn)
        assert alone.seconds == work.seconds
        assert alone.calls == work.calls == session.calls[turn]


def test_the_context_of_a_session_grows_and_the_cache_is_a_prefix_of_it() -> None:
    model = AgentModel(PRESETS["coding-agent"], 1)
    largest = max(tokens for tokens, _ in PRESETS["coding-agent"].tokens.windows)
    for number in range(30):
        before = 0
        for work in model.requests(model.session(number)):
            for step in work.steps:
                assert step.cached_input <= before
                assert 0 < step.new_input + step.cached_input <= largest + 100_000
                before = step.new_input + step.cached_input


def test_the_requests_of_a_conversation_come_in_their_order_and_popular_ones_more_often() -> None:
    works = list(islice(AgentModel(PRESETS["chat"], 2).works(), 3000))
    for conversation in ("conversation-1", "conversation-2"):
        own = [(work.session, work.turn) for work in works if work.conversation == conversation]
        for (session, turn), following in pairwise(own):
            assert following == (session, turn + 1) or following[1] == 0
    counts = Counter(work.conversation for work in works)
    # Zipf with exponent 1 over 1,000 conversations: the first has 1 / H(1000) = 13.4 % of the requests.
    assert counts["conversation-1"] / len(works) == pytest.approx(0.134, rel=0.15)
    assert counts["conversation-1"] > counts["conversation-4"] > counts["conversation-40"]


def test_the_demand_is_as_given() -> None:
    demand = replace(PRESETS["coding-agent"].demand, canceled=0.25, fan_out=0.5, poll_every=3.0)
    model = AgentModel(replace(PRESETS["coding-agent"], demand=demand), 1)
    works = [model.request(model.session(number), 0) for number in range(1500)]
    # The standard errors of both shares are 1.1 % and 1.3 %.
    assert sum(work.cancel_after is not None for work in works) / 1500 == pytest.approx(0.25, abs=0.045)
    assert sum(bool(work.subagents) for work in works) / 1500 == pytest.approx(0.5, abs=0.05)
    assert {work.poll_every for work in works} == {3.0}


def test_failed_attempts_cost_waits_that_double_and_end() -> None:
    llm = replace(PRESETS["chat"].llm, failures=0.9, backoff=2.0, attempts=4)
    model = AgentModel(replace(PRESETS["chat"], llm=llm), 1)
    steps = [step for number in range(100) for step in model.request(model.session(number), 0).steps]
    assert {step.failures for step in steps} == {0, 1, 2, 3}
    assert all(step.waits == 2.0 * (2**step.failures - 1) for step in steps)


def test_slow_calls_come_together_and_the_distribution_of_one_call_stays() -> None:
    coding = PRESETS["coding-agent"]

    def slow(alike: float) -> tuple[float, float]:
        model = AgentModel(replace(coding, tools=replace(coding.tools, alike=alike)), 1)
        requests = [
            [
                call.seconds > 13
                for step in model.request(model.session(number), 0).steps
                for call in step.calls
            ]
            for number in range(1500)
        ]
        calls = [call for request in requests for call in request]
        pairs = [pair for request in requests for pair in pairwise(request)]
        return sum(calls) / len(calls), sum(map(all, pairs)) / len(pairs)

    independent, together = slow(0.0), slow(0.5)
    assert independent[0] == pytest.approx(0.0753, rel=0.1)
    assert together[0] == pytest.approx(0.0753, rel=0.25)  # fewer independent values: its error is 6 %
    assert independent[1] == pytest.approx(independent[0] ** 2, rel=0.5)
    assert together[1] > 3 * independent[1]


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Known: coding-agent, chat, research, batch-documents"):
        preset("video")


def test_the_command_prints_plans_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "4", "plan", "chat", "--requests", "3", "--time-scale", "0.5"]) == 0
    plans = [AgentWork.from_value(json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    expected = list(islice(AgentModel(PRESETS["chat"], 4).works(), 3))
    assert [plan.session for plan in plans] == [work.session for work in expected]
    assert math.isclose(plans[0].seconds, expected[0].seconds / 2, rel_tol=1e-3)
    assert main(["plan", "video"]) == 64
    assert capsys.readouterr().err.startswith("harness: There is no preset 'video'")
