"""Promises survive the history file and a TOML table, and a mistake in them is one sentence."""

from __future__ import annotations

import json
import math
import tomllib
from typing import Any

import pytest

from harness.history import InjectionKind
from harness.history.promises import DeliveryMode, Loss, Promises, Quote, SigtermPromise, losses, promises
from tests.support.histories import INFO, HistoryBuilder

TABLE = """
delivery = "at-most-once"
survives = ["worker-killed", "pool-killed"]
recovers_within = 12
sigterm = "drains"
exit_codes = [0, -15]
[quotes.worker-killed]
sentence = "Tasks are acknowledged late."
address = "https://example.invalid/late"
"""


def test_promises_are_read_from_a_toml_table() -> None:
    made = Promises.from_value(tomllib.loads(TABLE))
    assert made.delivery is DeliveryMode.AT_MOST_ONCE
    assert made.survives == {Loss.WORKER_KILLED, Loss.POOL_KILLED}
    assert made.recovers_within == {Loss.WORKER_KILLED: 12.0, Loss.POOL_KILLED: 12.0}
    assert made.sigterm is SigtermPromise.DRAINS
    assert made.exit_codes == {0, -15}
    assert made.quotes["worker-killed"] == Quote(
        sentence="Tasks are acknowledged late.", address="https://example.invalid/late"
    )


def test_a_time_of_its_own_for_each_loss() -> None:
    made = Promises.from_value({"recovers_within": {"worker-killed": 2, "pool-killed": 6.5}})
    assert made.recovers_within == {Loss.WORKER_KILLED: 2.0, Loss.POOL_KILLED: 6.5}
    assert made.slowest_recovery == 6.5


def test_the_value_in_a_history_is_the_same_promises() -> None:
    made = Promises.from_value(tomllib.loads(TABLE))
    value = json.loads(json.dumps(made.to_value()))
    assert promises(HistoryBuilder().op("runner", INFO, "promises", **value).history) == made


def test_a_history_without_promises() -> None:
    assert promises(HistoryBuilder().enqueued(1).history) is None


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"deliver": "at-most-once"}, "there is no promise 'deliver'; choose from"),
        ({"delivery": "exactly-once"}, "the promise delivery is 'exactly-once'; write one of at-least-once"),
        ({"survives": ["fire"]}, "the promise survives is 'fire'; write one of worker-killed"),
        ({"survives": "worker-killed"}, "the promise survives is 'worker-killed'; write a list"),
        ({"recovers_within": True}, "the promise recovers_within is True; write a number of seconds"),
        ({"recovers_within": {"sigterm": -1}}, "the promise recovers_within.sigterm is -1"),
        ({"slots_per_worker": 0}, "the promise slots_per_worker is 0; write a whole number"),
        ({"most_crashes": -1}, "the promise most_crashes is -1; write a whole number from 0 on"),
        ({"fences": "yes"}, "the promise fences is 'yes'; write true or false"),
        ({"steady_within": 0}, "the promise steady_within is 0; write a number of seconds"),
        ({"takes_over_after": "5s"}, "the promise takes_over_after is '5s'; write a number of seconds"),
        ({"takes_over_after": math.inf}, "the promise takes_over_after is inf; write a number of seconds"),
        ({"quotes": "it logs"}, "the promise quotes is 'it logs'; write a table"),
        (
            {"quotes": {"worker-kiled": {}}},
            "the promise quotes is 'worker-kiled'; write the name of a promise or",
        ),
        ({"exit_codes": ["0"]}, "the promise exit_codes is ['0']; write a list of whole numbers"),
        (
            {"quotes": {"log": "it logs"}},
            "the promise quotes.log is 'it logs'; write a sentence and the address",
        ),
    ],
)
def test_a_mistake_is_one_sentence(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Promises.from_value(table)
    assert str(caught.value).startswith(sentence)


def test_losses_are_those_of_the_injected_faults() -> None:
    history = (
        HistoryBuilder().injected("pause-worker", InjectionKind.PAUSE, pids=[1], loss="worker-paused").history
    )
    assert losses(history) == {Loss.WORKER_PAUSED}


def test_a_kill_during_another_loss_is_a_killed_worker_too() -> None:
    history = HistoryBuilder().injected("stall", InjectionKind.KILL, pids=[1], loss="database-frozen").history
    assert losses(history) == {Loss.DATABASE_FROZEN, Loss.WORKER_KILLED}


def test_a_killed_pool_is_not_also_a_killed_worker() -> None:
    history = HistoryBuilder().injected("kill-pool", InjectionKind.KILL, pids=[1], loss="pool-killed").history
    assert losses(history) == {Loss.POOL_KILLED}
