"""What happened to a task, in sentences, and the list of all tasks."""

from dataclasses import replace

from harness.checkers.base import CheckResult, Verdict
from harness.history import History
from harness.report.picture_data import data_of
from harness.report.stories import LONGEST, stories, story_of
from harness.report.task_list import COLUMNS, MORE, task_list
from harness.scenario import ScenarioRun
from tests.support.report_samples import (
    FAIL,
    INFO,
    INVOKE,
    OK,
    SampleHistory,
    invalid_run,
    kill_history,
    run_of,
    sigterm_history,
)


def described(sample: SampleHistory, task: int = 1) -> str:
    run = run_of(sample.history(), results={})
    story = story_of(run, data_of(run), task)
    assert story is not None
    return story.text


def submitted(task: int = 1) -> SampleHistory:
    sample = SampleHistory()
    sample.add(0, "client", INVOKE, "enqueue", task=task)
    sample.add(0.5, "client", OK, "enqueue", task=task, activity="a-1")
    return sample


def test_a_run_that_a_kill_cut_off_and_the_run_after_it() -> None:
    sample = submitted()
    sample.add(1, "worker-7", INVOKE, "run", task=1, activity="a-1", attempt=1, fence=3)
    sample.add(2, "nemesis", INFO, "kill-worker", fault=4, phase="inject", kind="kill", pids=[7])
    sample.add(3, "worker-8", INVOKE, "run", task=1, activity="a-1", attempt=2, fence=4)
    sample.add(4, "worker-8", OK, "run", task=1, activity="a-1", attempt=2, fence=4)
    sample.add(9, "postgres", INFO, "record", task=1, activity="a-1", status="complete")
    assert described(sample) == (
        "The client submitted it at +0.000 s; it was acknowledged as activity a-1 at +0.500 s. "
        "worker-7 started it at +1.000 s (attempt 1, fencing token 3); "
        "kill-worker (fault 4) killed the worker at +2.000 s. "
        "worker-8 started it at +3.000 s (attempt 2, fencing token 4); the handler returned at +4.000 s. "
        "The store's final record says complete."
    )


def test_a_pause_during_a_run_and_an_unknown_outcome() -> None:
    sample = submitted()
    sample.add(1, "worker-7", INVOKE, "run", task=1)
    sample.add(2, "nemesis", INFO, "pause-worker", fault=1, phase="inject", kind="pause", pids=[7])
    sample.add(2, "nemesis", INFO, "pause-worker", fault=2, phase="inject", kind="pause", pids=[8])
    sample.add(3, "worker-7", INFO, "run", task=1)
    sample.add(4, "worker-7", OK, "effect", task=1, activity="a-1")
    sample.add(4, "worker-7", FAIL, "effect", task=1, activity="a-1")
    text = described(sample)
    assert (
        "worker-7 started it at +1.000 s; pause-worker (fault 1) hit the worker at +2.000 s; the run" in text
    )
    assert "the run ended with an unknown outcome at +3.000 s." in text
    assert "fault 2" not in text
    assert "The outside store took 1 effect of it. The outside store refused 1 effect of it." in text


def test_a_task_without_an_answer_a_run_or_a_record() -> None:
    sample = SampleHistory()
    sample.add(0, "client", INVOKE, "enqueue", task=1)
    sample.add(1, "client", INVOKE, "enqueue", task=2)
    sample.add(2, "client", FAIL, "enqueue", task=2)
    sample.add(3, "postgres", INFO, "record", task=3, status="queued")
    no_record = "The store has no record of it."
    assert described(sample, 1) == (
        f"The client submitted it at +0.000 s; no answer is recorded. It never started. {no_record}"
    )
    assert described(sample, 2) == (
        f"The client submitted it at +1.000 s; it was refused at +2.000 s. It never started. {no_record}"
    )


def test_a_last_run_without_an_end_is_named_as_such() -> None:
    sample = submitted()
    sample.add(1, "worker-7", INVOKE, "run", task=1)
    assert described(sample).endswith(
        "worker-7 started it at +1.000 s; no end of the run is recorded. It did not start again."
    )


def test_of_many_runs_those_in_the_middle_are_counted() -> None:
    sample = submitted()
    for attempt in range(1, 21):
        sample.add(attempt, "worker-7", INVOKE, "run", task=1, attempt=attempt, fence=attempt)
        sample.add(attempt + 0.5, "worker-7", FAIL, "run", task=1, attempt=attempt, fence=attempt)
    text = described(sample)
    assert text.count("the handler failed") == LONGEST
    assert f"{20 - LONGEST} more runs are left out here." in text
    assert "(attempt 1, " in text
    assert "(attempt 20, " in text


def twice() -> ScenarioRun:
    run = invalid_run()
    again = CheckResult(
        verdict=Verdict.INVALID, summary="x", counterexamples=run.results["delivery"].counterexamples[:3]
    )
    return replace(run, results={**run.results, "witnesses": again})


def test_a_task_that_two_checkers_name_has_one_story_which_names_both() -> None:
    run = twice()
    found = stories(run, data_of(run))
    assert list(found) == [member["task"] for member in run.results["delivery"].counterexamples]
    assert found[48].named_by == (("delivery", "lost"), ("witnesses", "lost"))
    assert found[48].activity == "a00048"
    assert found[155].named_by == (("delivery", "lost"),)


def test_counterexamples_without_a_task_or_without_operations_have_no_story() -> None:
    members = ({"task": 9_999}, {"traceback": "..."}, {"task": "x"}, {"task": True})
    result = CheckResult(verdict=Verdict.INVALID, summary="x", counterexamples=members)
    run = run_of(kill_history(tasks=5, kills=1)[0], results={"own": result})
    assert stories(run, data_of(run)) == {}


def rows(run: ScenarioRun, **more: int) -> list[dict[str, str]]:
    data = data_of(run)
    found = task_list(run.history, data, stories(run, data), **more)
    return [dict(zip(COLUMNS, row.split("\t"), strict=True)) for row in found.rows.split("\n")]


def test_the_list_has_every_task_with_its_status_and_what_was_found() -> None:
    found = {row["task"]: row for row in rows(twice())}
    assert len(found) == 200
    assert found["48"] | {"submitted": "", "started": ""} == {
        "task": "48",
        "status": "cut off",
        "found": "lost",
        "activity": "a00048",
        "runs": "1",
        "submitted": "",
        "started": "",
        "completed": "",
        "workers": "worker-4108",
    }
    assert (found["1"]["status"], found["1"]["found"]) == ("complete", "")
    drained = {row["task"]: row for row in rows(run_of(sigterm_history(), results={}))}
    assert (drained["3"]["runs"], drained["3"]["workers"]) == ("2", "worker-502, worker-602")
    assert drained["4"]["status"] == "failed"


def test_the_status_is_that_of_the_store_if_the_store_has_one() -> None:
    sample = submitted()
    sample.add(1, "worker-7", INVOKE, "run", task=1)
    sample.add(2, "worker-7", OK, "run", task=1)
    sample.add(3, "client", INVOKE, "enqueue", task=2)
    sample.add(3, "client", OK, "enqueue", task=2)
    sample.add(4, "postgres", INFO, "record", task=1, status="ERROR")
    assert [row["status"] for row in rows(run_of(sample.history(), results={}))] == ["error", "never started"]


def test_a_shortened_list_keeps_the_tasks_that_a_checker_names() -> None:
    run = twice()
    lost = [str(member["task"]) for member in run.results["delivery"].counterexamples]
    assert [row["task"] for row in rows(run, limit=15)] == sorted(["1", "2", "3", *lost], key=int)
    assert task_list(run.history, data_of(run), {}, limit=15).caption == "200 tasks (15 of them listed)"


def test_no_string_of_a_history_breaks_the_columns_or_shows_a_secret() -> None:
    sample = SampleHistory()
    for pid in range(40):
        sample.add(pid, f"worker-{pid}", INVOKE, "run", task=1, activity="a\tb\nc redis://:hunter2@h \x00")
    (row,) = rows(run_of(sample.history(), results={}))
    assert row["activity"] == "a b c redis://:***@h �"
    assert row["workers"].endswith(f"worker-29, {MORE}")


def test_a_history_that_cannot_be_read_has_neither_stories_nor_tasks() -> None:
    sample = SampleHistory()
    sample.add(0, "worker-1", INVOKE, "run", activity="no task")
    run = run_of(sample.history(), results=invalid_run().results, tasks=1)
    assert stories(run, data_of(run)) == {}
    assert task_list(run.history, data_of(run), {}).count == 0
    assert task_list(History.of([]), data_of(run), {}).rows == ""
