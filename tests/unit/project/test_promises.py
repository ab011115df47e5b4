"""Each promise is made somewhere, asked for, and broken by a defect; and nothing that the project has is left out."""

from __future__ import annotations

import re

import pytest

import chaos
from tests.planted.defects import DEFECTS
from tests.promises.page import PAGE, placed, table
from tests.promises.registry import ROOT, Promise, checkers, problems, promises
from tests.support.breaks import INVARIANTS
from tests.support.broken_copy import changed

# Checkers of the run, of the harness's own evidence, of a load, and of the user's application: no promise of agentexec.
OF_THE_RUN = {"evidence", "faults_injected", "invariant", "load", "costs", "causality"}


@pytest.mark.parametrize("promise", promises().values(), ids=lambda promise: promise.name)
def test_a_promise_is_made_asked_for_and_broken(promise: Promise) -> None:
    assert problems(promise) == []
    if promise.edit is not None:  # `python -m tests.promises` runs its test on the result
        text = (ROOT / "agentexec" / promise.edit.file).read_text("utf-8")
        assert changed(promise.edit, text) != text


def test_a_promise_that_nothing_asks_for_is_a_problem() -> None:
    promise = next(iter(promises().values()))
    alone = Promise(name="alone", says="", made=promise.made, words="never written", asked=(), struck=("x",))
    assert problems(alone) == [
        f"{promise.made} does not say 'never written'",
        "there is no fault 'x'",
        "nothing asks for it",
        "no defect breaks it",
    ]


def test_every_scenario_strikes_at_a_promise() -> None:
    struck = {name for promise in promises().values() for name in promise.struck}
    injecting = {name for name, one in chaos.SCENARIOS.items() if one.faults and "soak" not in one.tags}
    assert injecting <= struck


def test_every_checker_asks_for_a_promise() -> None:
    asked = {name.removeprefix("checker ") for promise in promises().values() for name in promise.asked}
    assert checkers() - OF_THE_RUN <= asked | {"deadlocks"}


def test_every_planted_defect_and_every_invariant_is_of_a_promise() -> None:
    broken = {name.partition(" ")[2] for promise in promises().values() for name in promise.broken}
    assert DEFECTS.keys() | INVARIANTS.keys() <= broken


def test_every_event_that_something_detects_is_a_promise() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("### What detects what")[2]
    rows = re.findall(r"^\| .* \|$", text.partition("\n\n¹")[0], re.MULTILINE)[2:]
    words = [promise.words for promise in promises().values() if promise.made == "ARCHITECTURE.md"]
    assert [row for row in rows if not any(row.startswith(one.rstrip()) for one in words)] == []


def test_the_page_is_made_from_the_registry() -> None:
    text = PAGE.read_text("utf-8")
    assert text == placed(text, table(promises()))
