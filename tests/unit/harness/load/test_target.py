"""What a load may touch is given by name and by host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.load.target import LoadTarget, checked_run, new_run
from harness.report.compare_loads import LOAD_SCHEMA

LOCAL = {"DATABASE_URL": "postgresql://u:geheim@127.0.0.1/own", "REDIS_URL": "redis://:geheim@localhost"}
FAR = {
    "DATABASE_URL": "postgresql+psycopg://u:geheim@db.staging/own",
    "REDIS_URL": "rediss://:geheim@redis.staging",
}


def make(variables: dict[str, str], database: str | None = "own", **more: object) -> LoadTarget:
    return LoadTarget.make(database=database, variables=variables, **{"host": None} | more)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["postgresql://[::1]/own", "postgresql:///own?host=/run/postgres"])
def test_this_machine_is_allowed_where_the_database_is_named(url: str) -> None:
    assert make(LOCAL | {"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("variables", "more", "sentence"),
    [
        (LOCAL, {"database": None}, "--load-database own"),
        (LOCAL, {"database": "other"}, "not 'other'"),
        ({}, {}, "There is no DATABASE_URL"),
        ({"DATABASE_URL": LOCAL["DATABASE_URL"]}, {}, "There is no REDIS_URL"),
        (FAR, {}, "--allow-target db.staging"),
        (FAR, {"allowed": ["db.staging"]}, "--allow-target redis.staging"),
        (LOCAL | {"DATABASE_URL": "postgresql:///own?host=/run,db.staging"}, {}, "--allow-target db.staging"),
        (LOCAL, {"host": "redis://127.0.0.1.nip.io"}, "--allow-target 127.0.0.1.nip.io"),
    ],
)
def test_anything_else_is_refused_with_the_option_that_allows_it(
    variables: dict[str, str], more: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        make(variables, **more)  # type: ignore[arg-type]
    assert "geheim" not in str(refused.value)


def test_a_stray_env_file_names_no_server_and_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql:///own\nAGENTEXEC_MAX_QUEUE_DEPTH=1\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="There is no DATABASE_URL"):
        make({})
    with make(LOCAL).client("chat") as client:
        assert (client.settings.max_queue_depth, client.settings.queue_name) == (0, "chat")


def test_a_run_is_given_by_its_id_or_by_its_report(tmp_path: Path) -> None:
    new = new_run()
    assert checked_run(new) == new
    report = tmp_path / "verdict.json"
    report.write_text(json.dumps({"schema": LOAD_SCHEMA, "facts": {"run": new}}), "utf-8")
    assert checked_run(str(tmp_path)) == checked_run(str(report)) == new
    for content in ({"run": "load-1"}, {}):
        report.write_text(json.dumps({"schema": LOAD_SCHEMA, "facts": content}), "utf-8")
        with pytest.raises(UsageError, match="no id of a load run"):
            checked_run(str(tmp_path))
    with pytest.raises(UsageError, match="no id of a load run"):
        checked_run("%")
    report.write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="no verdict of a load"):
        checked_run(str(report))
