"""Mutants of the protocol: which there are, that they are in force, and what a judgement says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import pytest

from agentexec.identifiers import new_id
from agentexec.queue import redis_queue
from agentexec.store import statements
from agentexec.worker.leases import HeldLeases
from tests.mutants import __main__ as command
from tests.mutants.forks import JudgeFailed, judge
from tests.mutants.line_trace import LineTrace
from tests.mutants.mutate import Mutant, mutants_of_lua, mutants_of_sql
from tests.mutants.python_source import mutants_of_module
from tests.mutants.reach import Reach, able, units_of
from tests.mutants.scores import Outcome, known, survivors, table
from tests.mutants.sources import equivalent, mutants
from tests.planted.edits import Edit, applied

SCRIPT = """-- not a < b
local a = redis.call('GET', 'x - 1') or 0
if a < 1 and not b then
  wake(1)
end
"""
STATEMENT = "UPDATE a SET n = 1\n  WHERE id = 1 AND a.fence < v.token ORDER BY id LIMIT 3"


MODULE = """class Box:
    @property
    def full(self) -> bool:
        \"\"\"Whether it is.\"\"\"
        _logger.info("looked at %s", 1 + 1)
        assert self.size >= 0
        if self.size >= 1 and not self.open:
            self.seen += 1
            self.note()
        try:
            return sum(x for x in self.sizes if x) == 7
        except KeyError:
            return False


def strip(text: str, at: int = 0) -> None:
    raise ValueError("none" + "at all")
"""


def changes(found: Sequence[str]) -> list[str]:
    return [name.partition(" ")[2] for name in found]


def in_force(mutant: Mutant) -> AbstractContextManager[None]:
    return applied([Edit(where=mutant.where, old="", new=mutant.text, whole=True)])


@cache
def everything() -> Sequence[Mutant]:
    return [*mutants()]


def find(part: str) -> Mutant:
    return next(mutant for mutant in everything() if part in mutant.name)


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


def test_a_function_has_mutants_of_what_it_does_and_none_of_its_texts() -> None:
    found = list(mutants_of_module("m", MODULE))
    assert changes([mutant.name for mutant in found]) == [
        "always: 'self.size >= 1 and not self.open' -> 'True'",
        "never: 'self.size >= 1 and not self.open' -> 'False'",
        "order: 'self.seen += 1\\n            self.note()' -> 'self.note()\\n            self.seen += 1'",
        "logic: 'and' -> 'or'",
        "condition left out: 'self.size >= 1 and not self.open' -> '((self.size >= 1))'",
        "condition left out: 'self.size >= 1 and not self.open' -> '((not self.open))'",
        "comparison: '>=' -> '>'",
        "constant: '1' -> '0'",
        "logic: 'not self.open' -> '(self.open)'",
        "arithmetic: '+' -> '-'",
        "statement left out: 'self.seen += 1' -> 'pass'",
        "constant: '1' -> '0'",
        "statement left out: 'self.note()' -> 'pass'",
        "returned value: 'sum(x for x in self.sizes if x) == 7' -> 'None'",
        "comparison: '==' -> '!='",
        "always: 'x' -> 'True'",
        "never: 'x' -> 'False'",
        "handler left out: 'return False' -> 'raise'",
        "constant: 'False' -> 'True'",
        "statement left out: 'raise ValueError(\"none\" + \"at all\")' -> 'pass'",
    ]
    assert {mutant.where for mutant in found} == {"m:Box.full", "m:strip"}


def test_every_mutant_has_a_name_of_its_own_and_changes_its_text() -> None:
    found = everything()
    assert len({mutant.name for mutant in found}) == len(found) > 4_000
    assert {mutant.where for mutant in found} >= {f"lua/{name}.lua" for name in ("step", "enqueue", "common")}
    assert f"{statements.__name__}:STARTED" in {mutant.where for mutant in found}
    parts = {"Lua", "SQL", "memory queue", "queue", "store", "producer", "worker"}
    assert {mutant.part for mutant in found} == parts


def test_what_is_called_equivalent_is_a_mutant() -> None:
    assert set(equivalent()) - {mutant.name for mutant in everything()} == set()


def test_a_mutant_is_in_force_in_its_block_and_not_after_it() -> None:
    lua, sql = find("lua/renew.lua"), find(":PROGRESS")
    python = find("HeldLeases.add:4:13 statement left out")
    before = redis_queue.script_source("renew", flags=True), statements.PROGRESS
    leases, task = HeldLeases(), new_id()
    with in_force(lua), in_force(sql), in_force(python):
        assert redis_queue.script_source("renew", flags=True).endswith(lua.text)
        assert sql.text == statements.PROGRESS
        leases.add(task, 1)
        assert not leases
    assert (redis_queue.script_source("renew", flags=True), statements.PROGRESS) == before
    leases.add(task, 1)
    assert leases.tokens() == {task: 1}


@pytest.mark.parametrize(
    ("means", "where", "can"),
    [
        ("simulation", "lua/step.lua", False),
        ("simulation", "agentexec.store.statements:STARTED", True),
        ("queue machine", "agentexec.store.statements:STARTED", False),
        ("contract suite", "lua/step.lua", True),
    ],
)
def test_a_means_judges_what_it_runs(means: str, where: str, can: bool) -> None:
    assert able(means, find(where), Reach(units=(), masks={})) is can


def traced(function: Callable[[], object]) -> Reach:
    """The reach of two units, of which one runs a function in a thread of its own."""
    trace = LineTrace({__file__: __name__})
    with trace.of("other"):
        pass
    with trace.of("one"):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    return Reach.of(trace)


def branches() -> int:
    if time.monotonic() < 0:
        return 1
    return 2


def test_a_mutant_meets_the_units_that_reach_its_lines(tmp_path: Path) -> None:
    reach = traced(branches)
    reach.save(tmp_path / "reach.json")
    reach = Reach.load(tmp_path / "reach.json")
    found = mutants_of_module(__name__, Path(__file__).read_text("utf-8"))
    own = [mutant for mutant in found if mutant.where.endswith(":branches")]
    assert {able("simulation", mutant, reach) for mutant in own} == {True}
    units = {mutant.name.partition(" ")[2]: units_of(mutant, reach) for mutant in own}
    assert units["comparison: '<' -> '<='"] == ["one"]
    assert units["constant: '1' -> '0'"] == []
    other = next(mutant for mutant in everything() if mutant.part == "worker")
    assert not able("simulation", other, reach)


def test_a_judgement_tells_what_was_found_from_what_never_ends() -> None:
    def work(job: str) -> str | None:
        while job == "endless":
            pass
        if job == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return job if job == "found" else None

    answers = {one.job: one for one in judge(iter(["found", "survives", "killed", "endless"]), work, 2, 1.0)}
    assert {job: one.detail for job, one in answers.items() if not one.endless} == {
        "found": "found",
        "survives": None,
        "killed": "ends with -9",
    }
    assert answers["endless"].endless


def test_what_waits_for_ever_ends_by_wall_time_and_what_cannot_be_judged_says_so() -> None:
    (answer,) = judge(iter(["waits"]), lambda _: str(threading.Event().wait()), 1, 0.05)
    assert answer.endless
    with pytest.raises(JudgeFailed, match="ZeroDivisionError"):
        list(judge(iter([0]), lambda number: str(1 / number), 1))


def an_outcome(mutant: str, means: str, outcome: str, part: str = "SQL") -> Outcome:
    return Outcome(mutant=mutant, part=part, means=means, outcome=outcome, detail="", seconds=0.0)


def test_the_table_has_a_score_for_each_means_and_for_all_together() -> None:
    judged = [
        an_outcome("a", "contract suite", "survived"),
        an_outcome("a", "simulation", "endless"),
        an_outcome("b", "contract suite", "unreached", "Lua"),
    ]
    assert table(judged)[2:] == [
        "| contract suite | all | 2 | 0 | 0 | 1 | 1 | 0 % | 0 to 66 % |",
        "|  | SQL | 1 | 0 | 0 | 1 | 0 | 0 % | 0 to 79 % |",
        "|  | Lua | 1 | 0 | 0 | 0 | 1 | 0 % | 0 to 79 % |",
        "| simulation | all | 1 | 0 | 1 | 0 | 0 | 100 % | 21 to 100 % |",
        "| all together | all | 2 | 0 | 1 | 0 | 1 | 50 % | 9 to 91 % |",
        "|  | SQL | 1 | 0 | 1 | 0 | 0 | 100 % | 21 to 100 % |",
        "|  | Lua | 1 | 0 | 0 | 0 | 1 | 0 % | 0 to 79 % |",
    ]
    assert survivors(judged, "all together") == ["unreached: b"]


def test_what_was_judged_is_not_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "reach", lambda *_: Reach(units=["fakeredis"], masks={}))
    monkeypatch.setattr(command, "detail", lambda _: "a test")
    state = tmp_path / "judged.jsonl"
    arguments = ["lua/depth", "--sample", "2", "--state", str(state)]
    assert command.main(arguments) == command.main(arguments) == 0
    assert len(state.read_text("utf-8").splitlines()) == len(known(state)) == 2 * 3
    assert "| all together | all | 2 | 2 | 0 | 0 | 0 | 100 % |" in capsys.readouterr().out
    state.write_bytes(state.read_bytes()[:-9])  # an interrupted run cut its last line
    assert len(known(state)) == 2 * 3 - 1
    assert command.main(arguments) == 0
    assert len(known(state)) == 2 * 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no-such-file"], "No mutant is chosen."),
        (["--sample", "-1"], "'-1' is not a whole number of 1 or more"),
        (["--at-once", "0"], "'0' is not a whole number of 1 or more"),
        (["--minutes", "nan"], "'nan' is not a number above 0"),
        (
            ["lua/depth", "--minutes", "0", "--state", "{0}/new.jsonl"],
            "has no judgement of these mutants yet",
        ),
        (["lua/depth", "--minutes", "0", "--state", "{0}/other.jsonl"], "holds no judgements of mutants"),
        (["lua/depth", "--minutes", "0", "--state", "{0}"], "is no file of judgements"),
        (["lua/depth", "--minutes", "0", "--only", "{0}/new.jsonl"], "There is no file"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.jsonl").write_text('{"time": 1}\n')
    assert command.main([word.format(tmp_path) for word in arguments]) == 64
    assert complaint in capsys.readouterr().err


def test_the_sample_has_each_part_of_the_protocol_and_each_is_detected() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.mutants.sample"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sampled = {mutant.part for mutant in everything() if mutant.name in done.stdout}
    assert sampled == {mutant.part for mutant in everything()}
