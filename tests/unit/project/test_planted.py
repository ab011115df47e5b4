"""The planted defects fit the source, are in force only where planted, and are found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentexec.queue import redis_queue
from agentexec.store import dialects, statements
from agentexec.store.changes import ActivityChange
from chaos import SCENARIOS
from harness.scenario import RELEASE
from harness.simulation.power import Density, densities, found_with
from harness.simulation.queue import step
from tests.planted import parts, power, release, searches
from tests.planted.campaign import ORIGINAL, Campaign
from tests.planted.chaos_runs import CHAOS_RUNS
from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, MEANS, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.defects import DEFECTS, EVERY, PLANTED
from tests.planted.defects.postgres import OF_POSTGRES
from tests.planted.edits import Edit, StaleEdit, applied
from tests.planted.searches import Search
from tests.planted.table import BEGIN, END, density, enough, replace_cells, table, write

ROOT = Path(__file__).resolve().parents[3]
LUA_EDIT = Edit(where="lua/step.lua", old="if held ~= token then", new="if not held then")
PYTHON_EDIT = Edit(where="harness.simulation.queue.step:_finish", old="return False", new="return None")


def defect(**blind: str) -> Defect:
    reasons = {means: blind[means.split()[0]] for means in MEANS if means.split()[0] in blind}
    return Defect(name="d", imitates="", breaks="", part="", edits=(), scenario="kill-worker", blind=reasons)


def search(means: str, found: str | None, seconds: float = 0.2) -> Search:
    return Search(means=means, found=found, tries=3, seconds=seconds)


def step_source() -> str:
    return redis_queue.script_source("step", flags=True)


@pytest.mark.parametrize("name", EVERY)
def test_every_defect_fits_the_source_and_leaves_nothing_behind(name: str) -> None:
    before, code = redis_queue.script_source, step._finish.__code__
    with EVERY[name].planted():
        pass
    assert redis_queue.script_source is before
    assert step._finish.__code__ is code


def test_an_edit_of_a_dialect_is_in_its_statements_and_in_no_later_one() -> None:
    said = [dialects._statement("{seconds_left}", True, "")[1]]
    with OF_POSTGRES["delay-rebuilt-as-none"].planted():
        said += [dialects._statement("{seconds_left}", postgres, "")[1] for postgres in (True, False)]
    said.append(dialects._statement("{seconds_left}", True, "")[1])
    assert "clock_timestamp() - run_after" in said[1]
    assert "julianday(run_after) - julianday" in said[2]
    assert said[0] == said[3] != said[1]


def test_an_edit_is_in_force_for_every_user_of_the_function_or_script() -> None:
    known_by_name = step._finish
    true_source, true_code = step_source(), known_by_name.__code__
    with applied([LUA_EDIT, PYTHON_EDIT]):
        assert step_source() == true_source.replace(LUA_EDIT.old, LUA_EDIT.new) != true_source
        assert None in known_by_name.__code__.co_consts
    assert (step_source(), known_by_name.__code__) == (true_source, true_code)


@pytest.mark.parametrize(
    "where", ["lua/step.lua", "harness.simulation.queue.step:_finish", "agentexec.store.statements:FINISHED"]
)
def test_an_edit_that_no_longer_fits_is_an_error(where: str) -> None:
    with pytest.raises(StaleEdit, match="Adapt the planted defect"):
        with applied([Edit(where=where, old="no such text", new="")]):
            pass


@pytest.mark.parametrize("name", ["fence-reset", None])
def test_a_pool_has_the_defect_that_its_environment_names_and_keeps_it(name: str | None) -> None:
    program = (
        "import gc, tests.planted.pool; gc.collect(); from agentexec.queue import redis_queue as q; "
        + ("print('now, lowest' in q.script_source('step', flags=True))")
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"PLANTED_DEFECT": name} if name else {})
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == str(name is None)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("renewal-steals-back", QUEUE_MACHINE),
        ("cancel-overwrites-complete", ACTIVITY_MACHINE),
        ("error-before-retry", SIMULATION),
    ],
)
def test_a_few_defects_are_found_by_what_needs_no_servers(
    name: str, means: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "SIMULATED", 2)
    reported: list[str] = []
    campaign = Campaign(None, reported.append, means=[means])
    campaign.search_for(DEFECTS[name])
    assert campaign.complaints == []
    [found] = campaign.results[name]
    assert found.found
    assert f"{name}, {means}: {found.found}" in reported[0]


def test_every_defect_has_a_means_that_can_find_it() -> None:
    for one in DEFECTS.values():
        assert one.scenario in CHAOS_RUNS or CHAOS in one.blind
        assert one.able(MEANS)
        assert set(one.blind) < set(MEANS)
        assert all(one.blind.values())


def test_there_are_forty_and_each_part_of_the_protocol_has_one() -> None:
    assert len(PLANTED) >= 40
    assert [part for part, names in parts.by_part(PLANTED).items() if not names] == []
    page = (ROOT / "docs" / "design" / "planted.md").read_text("utf-8")
    assert page.partition(parts.BEGIN)[2].partition(parts.END)[0].strip() == parts.table(PLANTED)


def test_the_statements_of_the_protocol_are_all_that_change_the_record() -> None:
    changing = {
        name
        for name, value in vars(statements).items()
        if name.isupper() and isinstance(value, ActivityChange | str) and name[0] != "_" and name != "NEXT_N"
    }
    assert changing <= {*parts.STATEMENTS}


def test_the_interval_of_a_density_is_that_of_wilson() -> None:
    assert density(20, 200) == "100 of 1,000 (66 to 149; 20 of 200)"
    assert density(0, 200) == "0 of 1,000 (0 to 19; 0 of 200)"
    assert density(200, 200) == "1000 of 1,000 (981 to 1000; 200 of 200)"


def test_a_density_is_put_into_its_row_and_all_other_cells_stay(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    row = "| `d` | queue | activity | old | test | chaos |"
    document.write_text(f"| `d` |\n{BEGIN}\n\n{row}\n{END}\n")
    found = Search(means=SIMULATION, found="delays: early", tries=200, seconds=1.0, hits=20)
    replace_cells(document, SIMULATION, {"d": found}, {"d": defect()})
    new = row.replace("old", f"delays: early: {density(20, 200)}")
    assert document.read_text() == f"| `d` |\n{BEGIN}\n\n{new}\n{END}\n"


def test_a_means_that_should_have_found_a_defect_and_did_not_is_complained_about() -> None:
    able = defect().able(MEANS)
    searches = [
        search(QUEUE_MACHINE, "x"),
        search(ACTIVITY_MACHINE, "x"),
        search(SIMULATION, None),
        search(CHAOS, "x"),
    ]
    assert enough(defect(), searches, able) == "d was not found by simulation"
    assert enough(defect(), searches[:2], able) is None
    assert enough(defect(), searches[:1], able) == "d was found by 1 means, 2 have to"


def test_a_rare_defect_may_be_missed_by_the_simulation_and_the_table_says_why() -> None:
    rare = replace(defect(chaos="no"), rare="it is rare")
    able = rare.able(MEANS)
    assert able == [QUEUE_MACHINE, ACTIVITY_MACHINE]
    tried = [search(QUEUE_MACHINE, "x"), search(ACTIVITY_MACHINE, "x"), search(SIMULATION, None)]
    assert enough(rare, tried, able) is None
    assert "| nothing: 0 of 1,000 (0 to 562; 0 of 3); it is rare |" in table({"d": tried}, {"d": rare})


def test_one_means_is_enough_where_no_other_is_able() -> None:
    alone = defect(queue="no", activity="no", simulation="no")
    assert enough(alone, [search(CHAOS, "delivery")], [CHAOS]) is None
    assert enough(alone, [], [CHAOS]) == "d was found by 0 means, 1 have to"


def test_the_table_shows_what_found_a_defect_its_cost_and_why_others_cannot() -> None:
    one = defect(activity="it is blind", simulation="so is it")
    searches = [search(QUEUE_MACHINE, "two holders", 1.6), search(CHAOS, "delivery")]
    truth = [search(CHAOS, None, 2.0), search(CHAOS, None, 3.2)]
    rows = table({"d": searches, ORIGINAL: truth}, {"d": one}).splitlines()
    assert rows[2] == (
        "| `d` | two holders (3 examples, 2 s) | cannot: it is blind | cannot: so is it | none is named | "
        "delivery (3 tasks, 1 s) |"
    )
    assert rows[3].endswith("nothing (6 tasks, 5 s) |")


def test_rows_are_put_into_their_place_and_all_else_stays(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write(document, "| head |\n| --- |\n| `b` | 1 |\n| `c` | 1 |", order=["a", "b", "c"])
    write(document, "| head |\n| --- |\n| `b` | 2 |\n| `a` | 2 |", order=["a", "b", "c"])
    rows = "| head |\n| --- |\n| `a` | 2 |\n| `b` | 2 |\n| `c` | 1 |"
    assert document.read_text() == f"before\n{BEGIN}\n\n{rows}\n\n{END}\nafter\n"


def test_the_page_has_a_row_for_every_defect_and_one_for_no_defect() -> None:
    page = (ROOT / "docs" / "design" / "planted.md").read_text("utf-8")
    rows = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [*DEFECTS, ORIGINAL]


def test_every_defect_is_found_by_a_scenario_of_a_release_or_has_a_reason() -> None:
    assert {*release.FOUND_BY, *release.NOT_BY} == set(EVERY)
    assert not set(release.FOUND_BY) & set(release.NOT_BY)
    assert all(RELEASE in SCENARIOS[one.scenario].tags for one in release.FOUND_BY.values())
    page = (ROOT / "docs" / "design" / "planted.md").read_text("utf-8")
    assert f"{len(release.FOUND_BY)} of the {len(EVERY)} have one" in page
    rows = page.partition(release.BEGIN)[2].partition(release.END)[0].strip().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(EVERY)
    scenarios = {name: row.split("`")[3] for row in rows if (name := row.split("`")[1]) in release.FOUND_BY}
    assert scenarios == {name: one.scenario for name, one in release.FOUND_BY.items()}


def test_the_drawn_defects_have_a_density_and_a_power_that_can_fail_either_way() -> None:
    checks = power.drawn(densities())
    assert len({check.name for check in checks}) == power.DRAWN
    assert all(check.name in DEFECTS and check.density.hits >= power.FEWEST_HITS for check in checks)
    assert all(0.2 < check.stated < 0.95 for check in checks)
    assert checks == power.drawn(densities()) != power.drawn(densities(), seed=power.SEED + 1)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_interval_has_95_percent_of_the_found_shares(share: float) -> None:
    rng, within = random.Random(1), list[bool]()
    while len(within) < 300:
        density = Density(sum(rng.random() < share for _ in range(120)), 120)
        if density.hits >= power.FEWEST_HITS:
            check = power._budget("d", density)
            found = sum(rng.random() < found_with(share, check.schedules) for _ in range(power.BUDGETS))
            within.append(replace(check, found=found).within)
    assert 0.91 <= sum(within) / len(within) <= 0.98


def test_a_budget_ends_with_the_first_schedule_that_shows_the_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def simulated(seed: int) -> SimpleNamespace:
        asked.append(seed)
        return SimpleNamespace(findings=[seed] if seed % 10 == 1 else [])

    monkeypatch.setattr(power, "simulate", simulated)
    check = power.PowerCheck(name="fence-reset", density=Density(12, 120), schedules=7)
    spent = power.spend(check, DEFECTS["fence-reset"], first=100)
    assert spent.found == 70
    assert asked[:9] == [100, 101, 107, 108, 109, 110, 111, 114, 115]
