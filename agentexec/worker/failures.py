"""The text of what handlers raise: a summary and a traceback, limited in length and without secrets."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import chain

from agentexec.masking import masked
from agentexec.text import MAX_MESSAGE, storable_text

MAX_TRACEBACK = 6_000  # characters that the record and the log keep: the end, where the error is
MAX_PART = 2_000  # characters of one frame, and of the text of one exception in a traceback
MAX_IN_GROUP = 50  # exceptions inside a group that a summary names


def summary_of(error: BaseException) -> str:
    """Type and text of an error and its notes; for a group also those of the exceptions inside."""
    try:
        described = _described(error, iter(range(MAX_IN_GROUP)))
    except BaseException:  # noqa: BLE001 - an exception of the application may refuse any access
        described = type(error).__name__
    return storable_text(described)


def traceback_of(error: BaseException) -> str:
    """The end of the traceback of an error, with its causes."""
    try:
        parts = traceback.format_exception(_from_handler(error))
    except BaseException:  # noqa: BLE001 - as above
        return summary_of(error)
    text = "".join(masked(part[: 2 * MAX_PART])[:MAX_PART].rstrip("\n") + "\n" for part in parts).rstrip()
    return storable_text(text if len(text) <= MAX_TRACEBACK else f"[...]{text[-MAX_TRACEBACK:]}")


def _described(error: BaseException, budget: Iterator[int]) -> str:
    name, text = type(error).__name__, _text_of(error)
    notes = getattr(error, "__notes__", None)
    lines = chain([f"{name}: {text}" if text else name], notes if isinstance(notes, list) else ())
    described = "\n".join(line for line in lines if isinstance(line, str))
    if not isinstance(error, BaseExceptionGroup):
        return described
    inner = []
    for part in error.exceptions:
        if next(budget, None) is None:
            inner.append("...")
            break
        inner.append(_described(part, budget))
    return f"{described} [{'; '.join(inner)}]"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException as failure:  # noqa: BLE001 - the application's own `__str__`
        return f"(its text cannot be read: {type(failure).__name__})"


def _from_handler(error: BaseException) -> BaseException:
    """The error without the frames of agentexec above its handler."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("agentexec.worker."):
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)
