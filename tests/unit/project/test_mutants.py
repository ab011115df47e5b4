"""Mutants of scripts and statements: which there are, that they are in force, and what a judgement says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import pytest

from agentexec.queue import redis_queue
from agentexec.store import statements
from tests.mutants.__main__ import judge, main, scores
from tests.mutants.mutate import Mutant, mutants_of_lua, mutants_of_sql
from tests.mutants.one import MEANS, able, in_force
from tests.mutants.sources import mutants

SCRIPT = """-- not a < b
local a = redis.call('GET', 'x - 1') or 0
if a < 1 and not b then
  wake(1)
end
"""
STATEMENT = "UPDATE a SET n = 1\n  WHERE id = 1 AND a.fence < v.token ORDER BY id LIMIT 3"


def changes(found: Sequence[str]) -> list[str]:
    return [name.partition(" ")[2] for name in found]


def test_a_script_has_a_mutant_for_each_place_outside_of_comments_and_strings() -> None:
    assert changes([mutant.name for mutant in mutants_of_lua("lua/x.lua", SCRIPT)]) == [
        "logic: 'or' -> 'and'",
        "comparison: '<' -> '<='",
        "logic: 'and' -> 'or'",
        "logic: 'not' -> ''",
        "always: 'if a < 1 and not b then' -> 'if true then'",
        "never: 'if a < 1 and not b then' -> 'if false then'",
        "call left out: 'wake(1)' -> ''",
    ]


def test_a_statement_has_mutants_of_its_conditions() -> None:
    found = list(mutants_of_sql("x:Y", STATEMENT))
    assert changes([mutant.name for mutant in found]) == [
        "condition left out: 'AND a.fence < v.token' -> ''",
        "comparison: '<' -> '<='",
        "order: 'ORDER BY id LIMIT' -> 'ORDER BY id DESC LIMIT'",
    ]
    assert found[0].text == "UPDATE a SET n = 1\n  WHERE id = 1 ORDER BY id LIMIT 3"


def test_every_mutant_has_a_name_of_its_own_and_changes_its_text() -> None:
    found = list(mutants())
    assert len({mutant.name for mutant in found}) == len(found) > 600
    assert {mutant.where for mutant in found} >= {f"lua/{name}.lua" for name in ("step", "enqueue", "common")}
    assert f"{statements.__name__}:STARTED" in {mutant.where for mutant in found}


def test_a_mutant_is_in_force_in_its_block_and_not_after_it() -> None:
    lua = next(mutant for mutant in mutants() if mutant.where == "lua/renew.lua")
    sql = next(mutant for mutant in mutants() if mutant.where.endswith(":PROGRESS"))
    before = redis_queue.script_source("renew", flags=True), statements.PROGRESS
    with in_force(lua), in_force(sql):
        assert redis_queue.script_source("renew", flags=True).endswith(lua.text)
        assert sql.text == statements.PROGRESS
    assert (redis_queue.script_source("renew", flags=True), statements.PROGRESS) == before


@pytest.mark.parametrize(
    ("means", "where", "can"),
    [
        ("simulation", "lua/step.lua", False),
        ("simulation", "agentexec.store.statements:STARTED", True),
        ("queue machine", "agentexec.store.statements:STARTED", False),
        ("contract", "lua/step.lua", True),
    ],
)
def test_a_means_judges_what_it_runs(means: str, where: str, can: bool) -> None:
    assert able(means, where) is can


def test_a_judgement_is_the_exit_code_and_an_endless_loop_is_timed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant = next(mutants())

    def run(command: Sequence[str], *, input: bytes, timeout: float, **_: object) -> object:
        assert json.loads(input)["where"] == mutant.where
        if command[-1] == "simulation":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, ["contract", "queue machine"].index(command[-1]))

    monkeypatch.setattr(subprocess, "run", run)
    outcomes = [judge(mutant, means) for means in ("contract", "queue machine", "simulation")]
    assert outcomes == ["survived", "detected", "timed out"]


def test_the_table_has_a_score_for_each_means_and_for_all_together() -> None:
    judged = [{"contract": "survived", "simulation": "timed out"}, {"contract": "survived"}]
    assert scores(judged)[2:] == [
        "| contract | 2 | 0 | 0 % |",
        "| simulation | 1 | 1 | 100 % |",
        "| all together | 2 | 1 | 50 % |",
    ]


def test_what_was_judged_is_not_judged_again(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def judged(_: Mutant, means: str) -> str:
        calls.append(means)
        return "detected"

    monkeypatch.setattr("tests.mutants.__main__.judge", judged)
    arguments = ["lua/depth", "--sample", "2", "--out", f"{tmp_path}/judged.jsonl"]
    assert main(arguments) == main(arguments) == 0
    assert len(calls) == 2 * (len(MEANS) - 1)
    assert "| all together | 2 | 2 | 100 % |" in capsys.readouterr().out
