"""What the simulated server notices of single calls."""

from __future__ import annotations

import pytest

from agentexec.queue.protocol import Revocations, StepRequest
from harness.simulation.call_promises import CallPromises
from harness.simulation.queue.books import Books, Step

STEP = Step(nonce="n", claims=(), accepted=(), expired=Revocations({}, {}))


def stepped(nonce: str) -> list[StepRequest]:
    return [StepRequest(worker="w", nonce=nonce)]


@pytest.mark.parametrize(("nonce", "changes", "found"), [("n", 1, 1), ("n", 0, 0), ("another", 1, 0)])
def test_only_a_step_that_is_sent_again_must_change_nothing(nonce: str, changes: int, found: int) -> None:
    promises, books = CallPromises(), Books(last={"w": STEP})
    before = promises.before("step", books, stepped(nonce))
    books.fence += changes
    promises.after("step", books, before, stepped(nonce), {})
    assert len(promises.findings) == found


@pytest.mark.parametrize(("name", "ends", "found"), [("late", True, 1), ("late", False, 0), ("now", True, 0)])
def test_the_end_of_a_rebuild_ends_no_other_one(name: str, ends: bool, found: int) -> None:
    promises, books = CallPromises(), Books(rebuilding="now")
    before = promises.before("end_rebuild", books, [name])
    if ends:
        books.epoch, books.rebuilding = name, None
    promises.after("end_rebuild", books, before, [name], {})
    assert promises.findings == ["I11: the end of another rebuild changed the queue"] * found


def test_a_worker_that_was_declared_gone_gets_no_answer_and_is_not_registered() -> None:
    promises, books = CallPromises(), Books(workers={"w": "host-0|1|1"})
    promises.after("register", books, promises.before("register", books, ["w"]), ["w"], {})
    promises.after("step", books, promises.before("step", books, stepped("n")), stepped("n"), {})
    assert promises.findings == []
    promises.after("release", books, None, ["w", None], {"declare_gone": True})
    promises.after("step", books, None, stepped("m"), {})
    promises.after("register", books, None, ["w"], {})
    assert promises.findings == [
        "I4: the queue answered w, which was declared gone",
        "I4: w is registered, and was declared gone",
    ]


def test_a_queue_that_lost_its_contents_knows_no_gone_worker() -> None:
    promises, books = CallPromises(), Books()
    promises.before("release", books, ["w"])
    promises.after("release", books, None, ["w", None], {"declare_gone": True})
    promises.before("step", Books(), stepped("n"))
    promises.after("step", Books(), None, stepped("n"), {})
    assert promises.findings == []
