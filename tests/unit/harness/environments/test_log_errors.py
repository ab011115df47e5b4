"""Errors in the logs of servers: counted from a moment on, with the first sentences and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environments.log_errors import LogWatch, log_file, logged_errors

POSTGRES = """2026-11-27 04:00:00.000 UTC [7] LOG:  database system is ready to accept connections
2026-11-27 04:00:01.000 UTC [8] app@db ERROR:  relation "x" does not exist at character 15
2026-11-27 04:00:01.000 UTC [8] app@db STATEMENT:  SELECT 'ERROR:  none' FROM x
2026-11-27 04:00:02.000 UTC [8] app@db LOG:  duration: 1 ms  statement: SELECT
\t2026-11-27 04:00:02.000 UTC ERROR:  a line of that statement
2026-11-27 04:00:03.000 UTC [9] app@db FATAL:  no password for postgres://u:s3cret@host/db
PANIC:  could not write
"""
REDIS = """11:M 27 Nov 2026 04:00:00.000 * Ready to accept connections # not yet
11:M 27 Nov 2026 04:00:01.000 # Error writing to the AOF file: No space left on device
12:C 27 Nov 2026 04:00:01.000 # Fatal: \x1b[31mno\x1b[0m
"""


def test_only_the_severity_of_a_line_of_postgres_counts() -> None:
    assert list(logged_errors("postgres", POSTGRES)) == [
        'relation "x" does not exist at character 15',
        "no password for postgres://u:***@host/db",
        "could not write",
    ]


def test_warnings_of_redis_count_and_control_no_terminal() -> None:
    assert list(logged_errors("redis", REDIS)) == [
        "Error writing to the AOF file: No space left on device",
        "Fatal: �[31mno�[0m",
    ]


def test_what_was_logged_before_does_not_count_and_equal_sentences_are_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(POSTGRES)
    watch = LogWatch({"postgres": log_file(path)})
    assert watch.found()[0].count == 0
    path.write_text(POSTGRES + "ERROR:  again and again\n" * 7)
    (found,) = watch.found()
    assert (found.count, found.sentences) == (7, ("again and again",))
    assert found.text == "errors in the log of postgres: 7, such as: again and again"
    path.write_text("ERROR:  in a new file\n")
    assert watch.found()[0].count == 1


@pytest.mark.parametrize("text", ["", None])
def test_a_log_that_cannot_be_read_is_not_measurable(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "log"
    if text is not None:
        path.write_text(text)
    (found,) = LogWatch({"redis": log_file(path)}).found()
    why = "the harness has no access to the log of this server"
    assert found.count is None
    if text is None:
        why = f"the log cannot be read: [Errno 2] No such file or directory: '{path}'"
    assert found.why == why
    assert found.text.startswith("errors in the log of redis: not measurable, the ")
