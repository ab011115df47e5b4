"""A benchmark on a Postgres with deadlocks fails: its figures are those of a system that waits for itself."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.environments.base import Endpoints
from loadtests.bench import __main__ as bench
from loadtests.bench.bench import BenchResult, Figure


@pytest.mark.parametrize(
    ("logs", "code"), [(["none", "none"], 0), (["none", "ERROR:  deadlock detected"], 1)]
)
def test_a_deadlock_in_the_log_of_the_server_is_exit_code_1(
    logs: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = iter(logs)
    environment = SimpleNamespace(
        versions=SimpleNamespace(postgres="PostgreSQL", redis="Valkey"),
        endpoints=Endpoints(database_url="", redis_url=""),
        folder=tmp_path,
        logs=lambda _: next(answers),
    )
    monkeypatch.setattr(bench, "make_environment", lambda _: nullcontext(environment))
    result = BenchResult(figure=Figure(name="drain", unit="tasks/s", values=(1.0,)))
    monkeypatch.setattr(bench, "BENCHMARKS", {"drain": lambda *_: result})
    assert bench.main(["drain", "--report", str(tmp_path)]) == code
    document = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert document["deadlocks"]["drain"]["count"] == code
    assert ("drain: 1 deadlocks" in capsys.readouterr().err) is bool(code)
