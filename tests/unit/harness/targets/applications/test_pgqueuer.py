"""The forms of jobs of PgQueuer, which functions make its applications, and how their entrypoints are wrapped."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.errors import TargetFailed, UsageError
from harness.history import History
from harness.history.promises import Loss
from harness.kit.harness_worker.recording import close_files
from harness.targets.applications.pgqueuer import PgqueuerApplication, message_in
from harness.targets.applications.pgqueuer_worker import wrapped_execute
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL
from harness.testing import app

PgQueuer = type("PgQueuer", (), {"__module__": "pgqueuer.core.applications"})


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (b"\x00\xff", b"\x00\xff"),
        ("größe", "größe".encode()),
        (None, None),
        ({"order": 7}, b'{"order": 7}'),
        ([7], b"[7]"),
    ],
)
@pytest.mark.parametrize("options", [(), ({"priority": 3, "headers": {"mine": "1"}},)])
def test_make_may_give_an_entrypoint_with_a_payload(payload: Any, sent: Any, options: Any) -> None:
    found = message_in(lambda number: ("refund", payload, *options), 7)
    assert (found.name, found.args, [found.options]) == ("refund", (sent,), list(options) or [{}])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("refund", "returned str. Return"),
        (("refund", 7), "returned tuple"),
        ((PgQueuer, b""), "returned tuple"),
        (("refund", b"", {"delay": 1}), "has the option 'delay'"),
    ],
)
def test_make_may_give_nothing_else(given: Any, named: str) -> None:
    with pytest.raises(TargetFailed, match=rf"make\(7\) {named}"):
        message_in(lambda number: given, 7)


def by_class() -> Any:
    return PgQueuer()


def by_import() -> Any:
    from pgqueuer import QueueManager  # type: ignore[import-not-found,unused-ignore] # not installed here

    return QueueManager


async def by_module() -> Any:
    return pgq.PgQueuer()


pgq = ModuleType("pgqueuer")


@pytest.mark.parametrize("factory", [by_class, by_import, by_module])
def test_a_function_that_names_pgqueuer_is_its_application(factory: Any, tmp_path: Path) -> None:
    found = app(factory, make=lambda n: ("refund", None)).wrapped
    assert isinstance(found, PgqueuerApplication)
    settings = TargetSettings(queue="q", folder=tmp_path, history=tmp_path, gate_address="g", lease=4.0)
    made = found.promises(settings)
    assert made.survives >= {Loss.WORKER_KILLED, Loss.BROKER_EMPTIED, Loss.DATABASE_RESTARTED}
    assert (made.takes_over_after, made.recovers_within[Loss.WORKER_KILLED]) == (8.0, 15.0)


@pytest.mark.parametrize("given", [lambda: sys.path, len, PgQueuer()])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(
        UsageError, match=r"app\(\) (does not know what runs|takes the function that `pgq run` takes)"
    ):
        app(given, make=lambda n: None)


class Job(SimpleNamespace):
    def model_copy(self, *, update: dict[str, Any]) -> Job:
        return Job(**{**vars(self), **update})


@pytest.mark.parametrize("headers", [{"mine": "1"}, {}])
def test_an_entrypoint_is_recorded_and_its_job_has_no_label(
    headers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path))
    close_files()
    seen: list[Any] = []

    async def execute(job: Any, context: Any) -> None:
        seen.append((job.headers, context))
        if job.attempts:
            raise ValueError("once more")

    wrapped = wrapped_execute("refund", SimpleNamespace(execute=execute))
    job = Job(id=3, attempts=0, headers={**headers, LABEL: {"number": 5, "work": 0}})
    asyncio.run(wrapped(job, "context"))
    with pytest.raises(ValueError, match="once more"):
        asyncio.run(wrapped(job.model_copy(update={"attempts": 1}), "context"))
    close_files()
    assert seen == [(headers or None, "context")] * 2
    runs = [
        (op.type.value, op.value["task"], op.value["attempt"]) for op in History.load(tmp_path).where("run")
    ]
    assert runs == [("invoke", 5, 1), ("ok", 5, 1), ("invoke", 5, 2), ("fail", 5, 2)]
