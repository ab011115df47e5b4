"""Excerpts of logs: which lines belong to the story of a task, and what an excerpt says about them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.history import History
from harness.report.logs import AROUND, MOST_LINES, began_at, excerpts, logs_of
from harness.report.page import report_html
from harness.report.stories import Story
from tests.support.report_samples import INFO, INVOKE, SampleHistory, invalid_run

BEGAN = datetime(2026, 3, 4, 23, 59, 58, tzinfo=UTC)


def history(*, clock: bool = True) -> History:
    sample = SampleHistory()
    if clock:
        sample.add(0, "runner", INFO, "clock", wall=BEGAN.isoformat())
    sample.add(2, "client", INVOKE, "enqueue", task=1)
    sample.add(9, "client", INFO, "note")
    return sample.history()


def story(*times: float, activity: str | None = "a-1") -> Story:
    return Story(task=1, activity=activity, sentences=(), named_by=(), times=times, processes=())


def stamp(seconds: float, style: str) -> str:
    at = BEGAN + timedelta(seconds=seconds)
    local = at.astimezone()
    return {
        "postgres": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC [12] ",
        "redis": f"12:M {local:%d} {local:%b} {local:%Y} {local:%H:%M:%S}.{local.microsecond // 1000:03d} * ",
        "python": f"{local:%Y-%m-%d %H:%M:%S},{local.microsecond // 1000:03d} WARNING pool: ",
        "json": f'{{"at": "{at.isoformat()}", "text": "',
        "celery": f"[{local:%Y-%m-%d %H:%M:%S},{local.microsecond // 1000:03d}: INFO/MainProcess] ",
        "time only": f"{local:%H:%M:%S}.{local.microsecond // 1000:03d} ",
    }[style]


def chosen(folder: Path, *lines: str, at: tuple[float, ...] = (3.0,), clock: bool = True) -> str:
    (folder / "pool-1.log").write_text("\n".join(lines) + "\n", "utf-8")
    found = excerpts(story(*at), logs_of(folder, history(clock=clock), seconds=9.0))
    return "\n".join(one.text for one in found)


@pytest.mark.parametrize("style", ["postgres", "redis", "python", "json", "celery", "time only"])
def test_lines_around_a_moment_of_the_task_are_chosen_in_every_usual_format(
    tmp_path: Path, style: str
) -> None:
    """The run goes past midnight, so a format without a date needs the date of the next day."""
    lines = [f"{stamp(second, style)}line at {second}" for second in (0.5, 2.9, 3.1, 5.0)]
    assert [line.rsplit(" ", 1)[1] for line in chosen(tmp_path, *lines).splitlines()] == ["2.9", "3.1"]


def test_a_line_without_a_time_belongs_to_the_line_before_it(tmp_path: Path) -> None:
    found = chosen(
        tmp_path, f"{stamp(3.0, 'python')}failed", "Traceback", f"{stamp(8.0, 'python')}later", "more"
    )
    assert [line.split(": ", 1)[0] for line in found.splitlines()] == ["1", "2"]


def test_a_time_in_whole_seconds_stands_for_the_whole_second(tmp_path: Path) -> None:
    local = (BEGAN + timedelta(seconds=3)).astimezone()
    assert "same second" in chosen(tmp_path, f"{local:%Y-%m-%d %H:%M:%S} same second", at=(3.9,))
    assert chosen(tmp_path, f"{local:%Y-%m-%d %H:%M:%S} same second", at=(4.0 + 2 * AROUND,)) == ""


def test_lines_that_name_the_activity_are_chosen_at_any_time_and_before_others(tmp_path: Path) -> None:
    near = [f"{stamp(3.0 + n / 1000, 'python')}near {n}" for n in range(50)]
    found = chosen(tmp_path, f"{stamp(8.0, 'python')}gave up a-1", *near).splitlines()
    assert found[0].endswith("gave up a-1")
    assert len(found) == MOST_LINES


def test_a_log_without_comparable_times_shows_only_lines_that_name_the_activity_and_says_so(
    tmp_path: Path,
) -> None:
    for lines, clock in ((("one", "two a-1"), True), ((f"{stamp(3.0, 'python')}x", "y a-1"), False)):
        (tmp_path / "pool-1.log").write_text("\n".join(lines), "utf-8")
        logs = logs_of(tmp_path, history(clock=clock), seconds=9.0)
        assert [log.timed for log in logs] == [False]
        (found,) = excerpts(story(3.0), logs)
        assert found.text.endswith("a-1")
        assert "no time that can be compared" in found.note


def test_a_log_of_another_day_is_not_taken_for_one_of_this_run(tmp_path: Path) -> None:
    assert chosen(tmp_path, "2024-01-01 10:00:00,000 INFO old") == ""


def test_a_clock_of_a_container_in_utc_is_understood_on_a_host_in_another_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        at = BEGAN + timedelta(seconds=3)
        assert "in utc" in chosen(tmp_path, f"12:M {at:%d %b %Y %H:%M:%S}.000 * in utc")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_cannot_be_read_is_no_clock() -> None:
    sample = SampleHistory()
    sample.add(0, "runner", INFO, "clock", wall="yesterday")
    assert began_at(sample.history()) is None


def test_the_page_links_the_logs_and_shows_the_lines_without_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "history" / "x y"
    folder.mkdir(parents=True)
    (folder / "pool-1.log").write_text("lost a00060 at redis://:hunter2@h <b>\x1b[31m\na00065\n")
    (folder / "empty.log").write_text("\n")
    page = report_html(
        [invalid_run(history_path=folder)], folder=tmp_path, written_at="2026-01-02T03:04:05+00:00"
    )
    assert '<a href="history/x%20y/pool-1.log">pool-1.log</a>' in page
    assert "1: lost a00060 at redis://:***@h &lt;b&gt;" in page
    assert "hunter2" not in page
    assert "empty.log" not in page
    assert page.count('<details class="excerpt" open>') == 1
