"""Judges mutants in forked children of this process, which has the imports done.

A child has a limit of processor time, which does not depend on the load of the machine, and one of wall time for what
waits without end.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Generic, TypeVar

PROCESSOR_SECONDS = 90
WALL_SHARE = 4  # of the processor time
FORK = get_context("fork")

Job = TypeVar("Job")


class JudgeFailed(Exception):
    """The work of a child raised an error, so that it says nothing of its mutant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged(Generic[Job]):
    """The answer of a child: `detail` is what showed the mutant, None if nothing did.

    `endless` says that a limit ended the child. `seconds` are its processor time, the limit if a signal ended it.
    """

    job: Job
    detail: str | None
    endless: bool
    seconds: float


class _Child(Generic[Job]):
    def __init__(self, job: Job, work: Callable[[Job], str | None], seconds: float) -> None:
        self.job = job
        self.answers, answering = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=_answer, args=(job, work, seconds, answering))
        self.process.start()
        answering.close()
        self.ends = time.monotonic() + WALL_SHARE * seconds
        self._seconds = seconds

    def judged(self) -> Judged[Job]:
        """Its answer, once it has one or its time is over; raises `JudgeFailed`."""
        endless = not self.answers.poll() and time.monotonic() >= self.ends
        answer: tuple[str | None, str | None, float] | None = None
        if not endless:
            try:
                answer = self.answers.recv()
            except EOFError:  # a signal ended it
                self.process.join()
        self._end()
        endless = endless or self.process.exitcode == -signal.SIGXCPU
        ended = f"ends with {self.process.exitcode}"
        failure, detail, seconds = answer or (None, ended, self._seconds)
        if failure is not None:
            raise JudgeFailed(failure)
        return Judged(job=self.job, detail=detail, endless=endless, seconds=seconds)

    def _end(self) -> None:
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with what it started
        self.process.join()
        self.answers.close()


def judge(
    jobs: Iterator[Job], work: Callable[[Job], str | None], at_once: int, seconds: float = PROCESSOR_SECONDS
) -> Iterator[Judged[Job]]:
    """The answers in the order in which they come; `work` runs in the children, each for so much processor time.

    Raises `JudgeFailed` if it raises.
    """
    children: dict[connection.Connection, _Child[Job]] = {}
    try:
        while True:
            while len(children) < at_once and (job := next(jobs, None)) is not None:
                child = _Child(job, work, seconds)
                children[child.answers] = child
            if not children:
                return
            soonest = min(child.ends for child in children.values())
            ready = connection.wait([*children], max(0.0, soonest - time.monotonic()))
            now = time.monotonic()
            for answers in [one for one, child in children.items() if one in ready or child.ends <= now]:
                yield children.pop(answers).judged()
    finally:
        for child in children.values():
            child._end()


def _answer(
    job: Job, work: Callable[[Job], str | None], seconds: float, answering: connection.Connection
) -> None:
    """The life of a child."""
    os.setpgid(0, 0)
    limit = math.ceil(seconds)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    failure = detail = None
    try:
        detail = work(job)
    except BaseException:
        failure = traceback.format_exc()
    answering.send((failure, detail, time.process_time()))
    answering.close()
    os._exit(0)
