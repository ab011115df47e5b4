"""Log lines have the fields of the production guide and their task, and no secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentexec.context import CurrentTask, current
from agentexec.masking import masked
from agentexec.ops import logs
from agentexec.ops.logs import JSONFormatter, LastingProblem, MaskSecrets, TextFormatter

AGENT = UUID("01890000-0000-7000-8000-000000000001")
MARK = "hunter22"  # every password drawn below holds it, and nothing else does
ANYTHING = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), max_size=12)
PASSWORD = st.builds("{}{}{}".format, ANYTHING, st.just(MARK), ANYTHING).filter(
    lambda p: not any(map(str.isspace, p))
)
SCHEME = st.sampled_from(["redis", "rediss", "redis+sentinel", "postgresql+psycopg", "https", "amqp"])
USER = st.sampled_from(["", "app", "app@server", "ünïcode", "a%40b"])
REST = st.sampled_from(["h:6379/0", "h1:26379,h2:26379/mymaster/0", "[::1]:5432/db?sslmode=require", "h"])
URL = st.builds(lambda s, u, p, r: f"{s}://{u}:{p}@{r}", SCHEME, USER, PASSWORD, REST)
PROSE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MESSAGE = st.builds(lambda a, url, b: f"{a} {url} {b}", PROSE, URL, PROSE)

Write = Callable[[logging.Logger], None]


class Lines:
    """A separate logger that writes to memory."""

    def __init__(self, formatter: logging.Formatter, *filters: logging.Filter) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter)
        for found in filters:
            handler.addFilter(found)
        self.logger = logging.Logger("app.part", logging.DEBUG)
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def handler_of(task: str, attempt: int) -> CurrentTask:
    return CurrentTask(
        agent_id=AGENT, task_name=task, attempt=attempt, fence=7, _report=lambda message, percentage: None
    )


def fail_with(text: str) -> None:
    raise ConnectionError(text)


def chained(text: str) -> None:
    try:
        fail_with(text)
    except ConnectionError as error:
        raise RuntimeError("outer") from error


def test_a_line_has_the_fields_of_the_guide() -> None:
    lines = Lines(JSONFormatter())
    lines.logger.warning("cleaned up %d", 3)
    (entry,) = lines.entries
    at = datetime.fromisoformat(entry.pop("timestamp"))
    assert at.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert entry.pop("pid") > 0
    assert entry == {"level": "WARNING", "message": "cleaned up 3", "logger": "app.part"}


def test_an_exception_is_one_line_with_its_traceback() -> None:
    lines = Lines(JSONFormatter())
    try:
        fail_with("no\nroute")
    except ConnectionError:
        lines.logger.exception("failed")
    (entry,) = lines.entries
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ConnectionError: no\nroute")


def test_a_line_of_a_handler_names_its_task_and_one_outside_does_not() -> None:
    lines = Lines(JSONFormatter())

    async def handler(task: str, attempt: int, go: asyncio.Event) -> None:
        current.set(handler_of(task, attempt))
        await go.wait()
        await asyncio.to_thread(lines.logger.info, "from a thread of it")

    async def both() -> None:
        go = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(handler("research", 2, go))
            group.create_task(handler("write", 1, go))
            go.set()
        lines.logger.info("outside")

    asyncio.run(both())
    named = {(e["task"], e["attempt"], e["agent_id"]) for e in lines.entries if "task" in e}
    assert named == {("research", 2, str(AGENT)), ("write", 1, str(AGENT))}
    assert [e["message"] for e in lines.entries if "task" not in e] == ["outside"]


def test_text_lines_name_the_task_too() -> None:
    lines = Lines(TextFormatter())
    token = current.set(handler_of("research", 2))
    lines.logger.info("thinking")
    current.reset(token)
    assert lines.text.endswith(f"app.part: thinking [agent_id={AGENT} task=research attempt=2]\n")


WAYS: dict[str, Callable[[logging.Logger, str], None]] = {
    "message": lambda logger, text: logger.info(text.replace("%", "%%") + "%s", ""),
    "argument": lambda logger, text: logger.info("at %s: %d", text, 3),
    "argument that is cut short": lambda logger, text: logger.info("at %.2s", text),
    "named argument": lambda logger, text: logger.info("at %(url)s", {"url": text}),
    "object": lambda logger, text: logger.info("got %s", ConnectionError(text)),
    "the message itself": lambda logger, text: logger.info(ConnectionError(text)),
    "wrong arguments": lambda logger, text: logger.info("%d of %d", text),
    "stack": lambda logger, text: logger.info("%s", text, stack_info=True),
}


@pytest.mark.parametrize(
    ("formatter", "filters"),
    [
        (JSONFormatter(), ()),
        (TextFormatter(), ()),
        (logging.Formatter("%(message)s %(args)s"), (MaskSecrets(),)),
        (JSONFormatter(), (MaskSecrets(),)),
    ],
    ids=["json", "text", "filter", "filter and json"],
)
@pytest.mark.parametrize("way", WAYS)
@given(text=MESSAGE)
def test_no_password_of_a_url_appears(
    formatter: logging.Formatter, filters: tuple[logging.Filter, ...], way: str, text: str
) -> None:
    if way == "wrong arguments" and not filters:
        return  # such a record never reaches the formatter; logging reports it by itself
    lines = Lines(formatter, *filters)
    WAYS[way](lines.logger, text)
    assert lines.text
    assert MARK not in lines.text


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter(), logging.Formatter()])
@pytest.mark.parametrize("fail", [fail_with, chained])
@given(text=MESSAGE)
def test_no_password_appears_in_the_text_of_an_exception(
    formatter: logging.Formatter, fail: Callable[[str], None], text: str
) -> None:
    lines = Lines(formatter, *([MaskSecrets()] if type(formatter) is logging.Formatter else []))
    try:
        fail(text)
    except (ConnectionError, RuntimeError):
        lines.logger.exception("it failed")
    assert "ConnectionError" in lines.text
    assert MARK not in lines.text


@given(PROSE)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    if "://" not in text and "=" not in text and ":" not in text and "earer" not in text.lower():
        assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:p@ss/w:o@h:1/0 is away", "redis://:***@h:1/0 is away"),
        ("postgresql://u@srv:pw@h/d", "postgresql://u@srv:***@h/d"),
        ("http://h:80/a/b?mail=a@b", "http://h:***@b"),  # too much rather than too little
        ("see http://h:80/a/b, then redis://h:6379/0", "see http://h:80/a/b, then redis://h:6379/0"),
        ('redis://:xx"pwd=yy@h', "redis://:***@h"),
        ("password=abc def", "password=*** def"),
        ("DB_PASSWORD: 'two words', user=x", "DB_PASSWORD: ***, user=x"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer ***"),
        ("the password was wrong", "the password was wrong"),
    ],
)
def test_what_is_masked_and_what_is_not(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_a_record_without_secrets_keeps_its_arguments_for_other_handlers() -> None:
    record = logging.LogRecord("app", logging.INFO, "f", 1, "took %d of %s", (3, "five"), None)
    assert MaskSecrets().filter(record)
    assert (record.msg, record.args) == ("took %d of %s", (3, "five"))


class Unprintable:
    def __init__(self, *, has_repr: bool) -> None:
        self._has_repr = has_repr

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "redis://:hunter22@h" if self._has_repr else str(self)


@pytest.mark.parametrize(
    ("message", "argument", "expected"),
    [
        ("took %d s", math.inf, "took %d s (inf,)"),
        ("%c", 2**40, "%c (1099511627776,)"),
        ("at %s", Unprintable(has_repr=True), "at %s (redis://:***@h,)"),
        ("%s", Unprintable(has_repr=False), "cannot be formatted"),
        ("%s", "", ""),
    ],
)
def test_a_message_that_cannot_be_formatted_never_raises_in_the_code_that_logs(
    message: str, argument: object, expected: str, root: logging.Logger
) -> None:
    stream = io.StringIO()
    root.addHandler(logging.StreamHandler(stream))
    logs.set_up(None, root=root)
    root.warning(message, argument)
    assert expected in stream.getvalue()
    assert "hunter" not in stream.getvalue()
    assert bool(expected) == bool(stream.getvalue().strip())


@pytest.fixture
def root() -> logging.Logger:
    return logging.RootLogger(logging.WARNING)


def test_the_handler_that_is_there_is_given_the_format(root: logging.Logger) -> None:
    stream = io.StringIO()
    root.addHandler(logging.StreamHandler(stream))
    logs.set_up("json", root=root)
    logs.set_up("json", root=root)
    root.warning("at redis://:hunter22@h")
    assert json.loads(stream.getvalue())["message"] == "at redis://:***@h"
    assert len(root.handlers[0].filters) == 1


def test_handlers_of_other_kinds_are_left_alone(root: logging.Logger) -> None:
    class Elsewhere(logging.StreamHandler[io.StringIO]):
        pass

    other = Elsewhere(io.StringIO())
    root.addHandler(other)
    logs.set_up("json", root=root)
    assert other.formatter is None
    assert [type(handler) for handler in root.handlers] == [Elsewhere, logging.StreamHandler]
    assert root.level == logging.INFO


def test_without_a_format_secrets_are_masked_and_nothing_else_changes(root: logging.Logger) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    root.addHandler(handler)
    logs.set_up(None, root=root)
    root.warning("at redis://:hunter22@h")
    assert stream.getvalue() == "<at redis://:***@h>\n"


def test_a_worker_without_any_handler_writes_its_warnings(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up(None, in_worker=True, root=root)
    root.info("quiet")
    root.warning("at redis://:hunter22@h")
    assert stream.getvalue().endswith("at redis://:***@h\n")
    assert "quiet" not in stream.getvalue()


def test_a_lasting_problem_is_logged_when_it_begins_changes_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    problem = LastingProblem(logging.getLogger("lasting"), "it works again")
    for seen in (None, "away: 100%", "away: 100%", "refused", "refused", None, None, "refused", None):
        problem.seen(seen)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "away: 100%"),
        ("WARNING", "refused"),
        ("INFO", "it works again"),
        ("WARNING", "refused"),
        ("INFO", "it works again"),
    ]


class Colored(logging.StreamHandler[io.StringIO]):
    """A handler of an application, as rich terminals use them."""


def plain(stream: io.StringIO) -> logging.Handler:
    return logging.StreamHandler(stream)


@pytest.mark.parametrize("log_format", ["json", "text", None])
@pytest.mark.parametrize("kind", [Colored, plain])
@pytest.mark.parametrize(
    "order", ["application first", "application last", "twice", "own logger first", "own logger last"]
)
def test_no_line_is_written_twice(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    kind: Callable[[io.StringIO], logging.Handler],
    log_format: Any,
) -> None:
    """Whatever sets up the log of the process, and in whatever order."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    manager = logging.Manager(root)  # type: ignore[arg-type]  # as that of the root logger of the process
    monkeypatch.setattr(logging, "getLogger", lambda name=None: manager.getLogger(name) if name else root)
    own = manager.getLogger("agentexec") if "own" in order else root
    if "first" in order:
        own.addHandler(kind(stream))
    logs.set_up(log_format, level="info", root=root)
    if order == "twice":
        logs.set_up(log_format, level="info", root=root)
    if "last" in order:
        own.addHandler(kind(stream))
    for name in ("agentexec.worker.pool", "app"):
        manager.getLogger(name).info("said by %s", name)
    lines = stream.getvalue().splitlines()
    for name in ("agentexec.worker.pool", "app"):
        said = [line for line in lines if f"said by {name}" in line]
        assert len(said) == 1 or (not said and log_format is None and name == "app"), lines


def test_a_file_of_the_application_gets_its_lines_too(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, other = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root.addHandler(Colored(other))  # not the terminal
    logs.set_up("json", root=root)
    root.warning("hello")
    assert json.loads(stream.getvalue())["message"] == other.getvalue().strip() == "hello"


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_that_of_the_root_logger(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, level: str, shown: int
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up(None, level=level, root=root)
    for number in (logging.DEBUG, logging.WARNING, logging.ERROR):
        root.log(number, "line")
    assert stream.getvalue().count("line") == shown
