"""A target's session behind checks of its answers: a mistake of the adapter is not taken for one of its queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from harness.errors import FOREIGN_ERRORS, AdapterMistake, HarnessError, describe_error
from harness.history import Operation
from harness.targets.base import PoolHandle, Submission, TargetSession, TaskSpec

_NO_ANSWER = "the adapter gave no answer for it"


class GuardedSession:
    """The session of a target; raises `AdapterMistake` for an error or an answer that its protocol does not have.

    A mistake in the answer to a submission is raised by `close`: what was answered is recorded before.
    """

    def __init__(self, session: TargetSession) -> None:
        self._session = session
        self._mistake: AdapterMistake | None = None

    def __getattr__(self, name: str) -> Any:
        """What a session has besides its protocol, such as `movement`."""
        return getattr(self._session, name)

    def start_pool(self) -> PoolHandle:
        """Start one pool; its handle has a process id."""
        with _call("start_pool", "start a pool, or raise TargetFailed"):
            pool = self._session.start_pool()
            if type(pid := pool.pid) is not int:
                raise TypeError(f"the pid of its pool is {pid!r}")
            return pool

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Submit tasks; exactly one answer for each, in their order."""
        with _call("submit", "return one Submission for each task, also for those that failed"):
            answers = list(self._session.submit(tasks))
            found: dict[int, Submission] = {}
            for answer in answers:
                found.setdefault(answer.number, _plain(answer))
        wanted = [task.number for task in tasks]
        if set(found) != set(wanted) or len(answers) != len(wanted):
            self._note(
                f"`submit` got tasks {_few(wanted)} and answered for {_few([one.number for one in answers])}"
            )
        elif any(one.activity is None and not one.error for one in found.values()):
            self._note("`submit` answered with neither an activity nor an error")
        none = Submission(number=0, error=_NO_ANSWER)
        return [replace(found.get(number, none), number=number) for number in wanted]

    def unfinished(self) -> int:
        """How many tasks are unfinished: a whole number of 0 or more."""
        with _call("unfinished", "return a whole number of 0 or more"):
            number = self._session.unfinished()
            if type(number) is not int or number < 0:
                raise ValueError(f"it returned {number!r}")
            return number

    def witnesses(self) -> Iterator[Operation]:
        """The evidence; each is an `Operation`."""
        with _call("witnesses", "return operations"):
            for operation in self._session.witnesses():
                if not isinstance(operation, Operation):
                    raise TypeError(f"it returned {type(operation).__name__}")
                yield operation

    def close(self) -> None:
        """Close the session, then raise the first mistake in an answer to `submit`."""
        with _call("close", "close its connections"):
            self._session.close()
        if self._mistake is not None:
            raise self._mistake

    def _note(self, what: str) -> None:
        self._mistake = self._mistake or _mistake(what, "It has to return one Submission for each task.")


@contextmanager
def _call(name: str, duty: str) -> Iterator[None]:
    try:
        yield
    except (HarnessError, GeneratorExit):
        raise
    except FOREIGN_ERRORS as error:
        what = f"`{name}` raised {describe_error(error)}"
        raise _mistake(what, f"It has to {duty}.") from error


def _mistake(what: str, remedy: str) -> AdapterMistake:
    return AdapterMistake(f"{AdapterMistake.PREFIX} {what}. {remedy}")


def _plain(answer: Submission) -> Submission:
    """The answer with its id as text: a UUID is one too. So is its name."""
    activity, name = (None if text is None else str(text) for text in (answer.activity, answer.name))
    return replace(answer, activity=activity, name=name)


def _few(numbers: Sequence[object]) -> str:
    listed = ", ".join(map(repr, numbers[:5]))
    return f"{listed} and {len(numbers) - 5} more" if len(numbers) > 5 else listed or "none"
