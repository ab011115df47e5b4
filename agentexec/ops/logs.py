"""Structured log lines without secrets.

    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())      # or AGENTEXEC_LOG_FORMAT=json for `agentexec worker`

Lines written during a handler contain its task, also those of the handler's own loggers and threads.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from agentexec.context import current
from agentexec.masking import masked

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JSONFormatter(logging.Formatter):
    """One JSON object per line: timestamp (ISO 8601, UTC), level, message, logger and pid.

    Also exception and stack if the record has them, and agent_id, task and attempt in a handler.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "message": masked(record.getMessage()),
            "logger": record.name,
            "pid": record.process or os.getpid(),
            **task_fields(),
        }
        if record.exc_text:  # formatted already, in another process or thread, or with a limit
            entry["exception"] = masked(record.exc_text)
        elif record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = masked(self.formatException(record.exc_info))
        if record.stack_info:
            entry["stack"] = masked(record.stack_info)
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """One line of text, with the task in brackets after the message."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        fields = " ".join(f"{name}={value}" for name, value in task_fields().items())
        return f"{line} [{fields}]" if fields else line

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class MaskSecrets(logging.Filter):
    """Masks the passwords in a record: in its message, arguments, exception text and stack.

    For handlers with another formatter; the formatters of this module mask too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.args = _masked_arguments(record.args)
        try:
            message = record.getMessage()
            hidden = masked(message)
        except Exception:  # noqa: BLE001 - no call of a logger raises; logging prints such a message unformatted
            message, hidden = None, masked(_unformatted(record))
        if hidden != message:
            record.msg, record.args = hidden, None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_text = masked(record.exc_text) if record.exc_text else record.exc_text
        record.stack_info = masked(record.stack_info) if record.stack_info else record.stack_info
        return True


class LastingProblem:
    """Logs a problem when it begins or changes and when it is over, and not each time that it is seen."""

    def __init__(self, logger: logging.Logger, over: str) -> None:
        """`over` is the message for its end."""
        self._logger = logger
        self._over = over
        self._problem: str | None = None

    def seen(self, problem: str | None, *, trace: bool = False) -> None:
        """Note the present problem, None if there is none; `trace` adds the traceback of the current exception."""
        before, self._problem = self._problem, problem
        if problem is not None and problem != before:
            self._logger.warning(problem, exc_info=trace)
        elif problem is None and before is not None:
            self._logger.info(self._over)


def task_fields() -> dict[str, Any]:
    """agent_id, task and attempt of the current handler; empty outside of a handler."""
    task = current.get(None)
    if task is None:
        return {}
    return {"agent_id": str(task.agent_id), "task": task.task_name, "attempt": task.attempt}


class _NotWrittenYet(logging.Filter):
    """Omits the records that another handler writes to the terminal, whichever of both was added first."""

    def __init__(self, own: logging.Handler, root: logging.Logger) -> None:
        super().__init__()
        self._own = own
        self._root = root

    def filter(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not self._root and logger.propagate:
            if any(map(_is_console, logger.handlers)):
                return False
            logger = logger.parent
        return not any(_is_console(handler) for handler in self._root.handlers if handler is not self._own)


def set_up(
    log_format: Literal["json", "text"] | None,
    *,
    level: str | None = None,
    in_worker: bool = False,
    root: logging.Logger | None = None,
) -> None:
    """Make the root logger's handlers for the terminal mask secrets, and use this format unless it is None.

    If there is a format and no such handler, adds one for stderr and sets the level INFO. In a worker process without
    a format and without any handler, adds one for warnings as text. It writes no record that a handler of the
    application writes to the terminal. Other handlers do not change. `level` is that of the root logger, unless None.
    """
    root = logging.getLogger() if root is None else root
    default_level = logging.INFO
    if log_format is None and not root.handlers and (in_worker or level is not None):
        log_format, default_level = "text", logging.WARNING
    consoles = [handler for handler in root.handlers if _is_console(handler)]
    if not consoles and log_format is not None:
        own = logging.StreamHandler(sys.stderr)
        own.addFilter(_NotWrittenYet(own, root))
        consoles = [own]
        root.addHandler(own)
        root.setLevel(default_level)
    if level is not None:
        root.setLevel(level.upper())
    if logging.lastResort is not None:  # it writes the warnings of a process without any handler
        _mask(logging.lastResort)
    for handler in consoles:
        if log_format is not None:
            handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
        _mask(handler)


def _mask(handler: logging.Handler) -> None:
    if not any(isinstance(known, MaskSecrets) for known in handler.filters):
        handler.addFilter(MaskSecrets())


def _is_console(handler: logging.Handler) -> bool:
    """Whether the handler writes to the terminal: a plain stream handler, or another one for a standard stream."""
    if type(handler) is logging.StreamHandler:
        return True
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and any(handler.stream is stream for stream in streams)


def _unformatted(record: logging.LogRecord) -> str:
    try:
        return f"{record.msg} {record.args!r}"
    except Exception:  # noqa: BLE001 - an argument's own error
        return f"a message of {record.pathname}:{record.lineno} that cannot be formatted"


def _masked_arguments(arguments: Any) -> Any:
    match arguments:
        case tuple():
            return tuple(masked(item) if isinstance(item, str) else item for item in arguments)
        case Mapping():
            return {key: masked(item) if isinstance(item, str) else item for key, item in arguments.items()}
        case _:
            return arguments
