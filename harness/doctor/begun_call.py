"""Calls that run beside others, and whose end nothing waits for: a server may hang, or a name not be resolved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def begun(call: Callable[[], T]) -> Future[T]:
    """The result of a call in a daemon thread, which the end of the process does not wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - `future` raises it
            future.set_exception(error)

    Thread(target=run, name="doctor", daemon=True).start()
    return future
