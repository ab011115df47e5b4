"""Due arrivals reach free users, and each of them is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from harness.load import arriving as arriving_module
from harness.load.arriving import Arriving, Stopped
from harness.load.schedule import PlannedArrival


def arrivals(*times: float) -> Iterator[PlannedArrival]:
    return (PlannedArrival(number, at, 0) for number, at in enumerate(times))


def test_a_free_user_gets_an_arrival_at_its_intended_time_and_not_before() -> None:
    arriving = Arriving(arrivals(0.0, 0.1), lambda _: "Chat")
    arriving.start()
    first, second = arriving.take("Chat"), arriving.take("Chat")
    assert (first.arrival.number, second.arrival.number) == (0, 1)
    assert second.intended == pytest.approx(arriving.epoch + 0.1)
    assert time.monotonic() >= second.intended
    assert (arriving.due, arriving.taken) == (2, 2)


def test_a_delay_because_all_users_are_busy_is_not_the_generators_own() -> None:
    arriving = Arriving(arrivals(0.0), lambda _: "Chat")
    arriving.start()
    while not arriving.waiting:
        time.sleep(0.001)
    time.sleep(0.3)  # the user is busy
    taken = arriving.take("Chat")
    assert time.monotonic() - taken.intended >= 0.3
    assert taken.lateness < 0.3


def test_after_the_end_users_are_released_and_what_no_user_took_is_never_sent() -> None:
    arriving = Arriving(arrivals(0.0, 0.0, 0.0, 60.0), lambda arrival: "Other" if arrival.number else "Chat")
    released: list[bool] = []

    def user() -> None:
        try:
            while True:
                arriving.take("Chat")
        except Stopped:
            released.append(True)

    users = [threading.Thread(target=user) for _ in range(3)]
    for one in users:
        one.start()
    arriving.start()
    while arriving.due < 3 or not arriving.taken:
        time.sleep(0.001)
    arriving.stop()
    for one in users:
        one.join(10)
    assert len(released) == 3
    assert [taken.arrival.number for taken in arriving.never_sent()] == [1, 2]
    assert arriving.due == arriving.taken + 2 == 3


def test_what_became_due_before_the_end_counts_although_the_process_was_too_late_to_offer_it() -> None:
    offered = threading.Event()

    def slow() -> Iterator[PlannedArrival]:
        yield PlannedArrival(0, 0.0, 0)
        offered.wait(10)  # the process stands still until the load has ended
        yield from (PlannedArrival(number, 0.01 * number, 0) for number in range(1, 5))
        yield PlannedArrival(5, 60.0, 0)

    arriving = Arriving(slow(), lambda _: "Chat")
    arriving.start()
    time.sleep(0.2)
    threading.Timer(0.1, offered.set).start()
    arriving.stop()
    late = [taken.lateness for taken in arriving.never_sent()]
    assert arriving.due == len(late) == 5
    assert max(late) >= 0.15


def test_what_became_due_while_the_process_waited_counts_if_the_end_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop of the process lasts over the end of the load: both timers have expired when it goes on."""
    ahead = 0.0
    monkeypatch.setattr(arriving_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    waits = threading.Event()

    def planned() -> Iterator[PlannedArrival]:
        waits.set()
        yield from (PlannedArrival(number, 30.0 + number, 0) for number in range(5))

    arriving = Arriving(planned(), lambda _: "Chat")
    arriving.start()
    waits.wait(10)
    time.sleep(0.05)
    ahead = 33.5
    arriving.stop()
    assert len(list(arriving.never_sent())) == arriving.due == 4


def test_arrivals_that_break_off_say_why_and_keep_what_was_due() -> None:
    def broken() -> Iterator[PlannedArrival]:
        yield from arrivals(0.0)
        raise OSError("the trace is gone")

    arriving = Arriving(broken(), lambda _: "Chat")
    arriving.start()
    assert arriving.take("Chat").arrival.number == 0
    list(arriving.never_sent())
    assert (arriving.due, arriving.exhausted) == (1, True)
    assert arriving.failure == "OSError: the trace is gone"


def test_arrivals_that_end_as_planned_are_no_failure() -> None:
    arriving = Arriving(arrivals(0.0, 60.0), lambda _: "Chat")
    arriving.start()
    arriving.stop()
    list(arriving.never_sent())
    assert arriving.failure is None
