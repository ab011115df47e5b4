"""The batching thread: order, size, close and failures."""

from __future__ import annotations

import logging
import threading

import pytest

from agentexec.errors import AgentexecError
from agentexec.producer.batching import BatchThread

WAIT = 10.0  # seconds


class Handler:
    """Records batches; the first one waits until it is released, so that items arrive meanwhile."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.busy, self.release = threading.Event(), threading.Event()

    def __call__(self, batch: list[str]) -> None:
        self.batches.append(batch)
        self.busy.set()
        assert self.release.wait(WAIT)


def busy_thread(handler: Handler, limit: int) -> BatchThread[str]:
    """A thread that handles "first" until the handler is released."""
    thread = BatchThread(handler, name="batches", limit=limit)
    thread.add("first")
    assert handler.busy.wait(WAIT)
    return thread


def test_items_that_arrive_while_a_batch_is_handled_form_the_next_one_in_order() -> None:
    handler = Handler()
    thread = busy_thread(handler, limit=10)
    for item in "abc":
        thread.add(item)
    handler.release.set()
    thread.close()
    assert handler.batches == [["first"], ["a", "b", "c"]]


def test_a_batch_stays_within_its_limit_and_takes_at_least_one_item() -> None:
    handler = Handler()
    thread = busy_thread(handler, limit=4)
    for item in ("aa", "bb", "c", "d" * 9, "eeee"):
        thread.add(item)
    handler.release.set()
    thread.close()
    assert handler.batches == [["first"], ["aa", "bb"], ["c"], ["d" * 9], ["eeee"]]


def test_a_thread_that_lingers_collects_a_full_batch() -> None:
    handler = Handler()
    handler.release.set()
    thread = BatchThread(handler, name="batches", limit=3, linger_seconds=WAIT)
    thread.add("a")
    thread.add("bb")
    assert handler.busy.wait(WAIT / 2), "a full batch does not wait for the end of the time"
    assert handler.batches == [["a", "bb"]]
    thread.add("c")
    thread.close()
    assert handler.batches == [["a", "bb"], ["c"]], "closing does not wait for it either"


def test_a_closed_thread_takes_no_items() -> None:
    handler = Handler()
    thread = BatchThread(handler, name="batches", limit=1)
    thread.close()
    with pytest.raises(AgentexecError, match="closed"):
        thread.add("late")
    assert handler.batches == []


def test_a_failure_is_logged_and_the_next_batch_is_handled(caplog: pytest.LogCaptureFixture) -> None:
    handled = threading.Event()

    def handle(batch: list[str]) -> None:
        if batch == ["bad"]:
            raise ValueError(batch)
        handled.set()

    thread = BatchThread(handle, name="batches", limit=1)
    with caplog.at_level(logging.ERROR, "agentexec"):
        thread.add("bad")
        thread.add("good")
        thread.close()
    assert handled.is_set()
    assert "batches failed to handle a batch of 1 item(s)" in caplog.text
