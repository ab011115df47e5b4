"""Pools of one queue with different settings report it, once, when they start."""

from __future__ import annotations

import logging

import pytest

from agentexec.config import load_settings
from agentexec.core.identity import process_identity
from agentexec.worker.agreement import SHARED, agree, shared
from harness.simulation.queue.memory_queue import MemoryQueue

FIRST = load_settings(lease_seconds=30, max_task_retries=3, result_ttl=3_600_000)
SECOND = load_settings(lease_seconds=60, max_task_retries=0, result_ttl=3_600_000)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_a_pool_with_the_settings_of_the_others_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    queue = MemoryQueue()
    with caplog.at_level(logging.INFO, "agentexec"):
        agree(queue, FIRST)
        agree(queue, FIRST)
    assert logged(caplog) == []


def test_a_pool_that_is_set_otherwise_warns_and_names_every_difference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = MemoryQueue("mail")
    queue.register("neighbour", process_identity())
    agree(queue, FIRST)
    agree(queue, SECOND)
    agree(queue, SECOND)
    ((level, text),) = logged(caplog)
    assert level == logging.WARNING
    assert text.startswith(
        "the pools of queue mail are set differently: AGENTEXEC_LEASE_SECONDS is 60 here and 30 there, "
        "AGENTEXEC_MAX_TASK_RETRIES is 0 here and 3 there."
    )
    assert "give the others the same settings" in text


def test_a_change_while_no_other_pool_lives_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    queue = MemoryQueue()
    with caplog.at_level(logging.INFO, "agentexec"):
        agree(queue, FIRST)
        agree(queue, SECOND)
    assert [level for level, _ in logged(caplog)] == [logging.INFO]


def test_what_is_shared_are_settings_and_their_values_are_exact() -> None:
    assert set(shared(FIRST)) == set(SHARED)
    assert (shared(FIRST)["result_ttl"], shared(FIRST)["lease_seconds"]) == ("3600000", "30")
