"""Every check is described, every box has one, and the scenarios that they name exist."""

from __future__ import annotations

import re
from collections import Counter

import pytest

import chaos
from harness.doctor.area import Area
from harness.doctor.check import Box, DoctorCheck, passed, psql
from harness.doctor.registry import CHECKS, boxes
from tests.support.environment import ROOT


def test_the_fifteen_boxes_have_checks() -> None:
    assert len(Box) == 15
    assert [box for box, found in boxes().items() if not found] == []


def test_each_line_of_the_production_guide_has_checks_that_exist() -> None:
    page = (ROOT / "docs" / "reference" / "doctor.md").read_text("utf-8").partition("line by line\n")[2]
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 30
    known = {one.id for one in CHECKS}
    for _, line, checks in rows[:-1]:
        named = set(re.findall(r"`([^`]+)`", checks))
        assert named, line
        assert named <= known, line


def test_no_id_is_given_twice() -> None:
    assert [name for name, count in Counter(one.id for one in CHECKS).items() if count > 1] == []


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.id)
def test_a_check_asks_a_question_and_has_a_reason_and_a_remedy(one: DoctorCheck) -> None:
    assert one.asks.endswith("?")
    assert one.why.endswith(".")
    assert one.remedy.endswith(".") or "(docs/" in one.remedy or "(CONFIG" in one.remedy
    assert not one.scenario or one.scenario in chaos.SCENARIOS


@pytest.mark.parametrize("wrong", ["fsync", "postgres.Fsync", "postgres.", "postgres.a b", "postgres.a.b"])
def test_an_id_of_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no id of a check"):
        DoctorCheck(id=wrong, area=Area.REDIS, asks="?", why=".", remedy=".", probe=lambda _: passed(""))


@pytest.mark.parametrize(
    ("statement", "quoted"),
    [
        ("ALTER SYSTEM SET fsync = on", "'ALTER SYSTEM SET fsync = on'"),
        ("SET timezone = 'UTC'", "\"SET timezone = 'UTC'\""),
        ('GRANT a TO "$(rm)\'"', "'GRANT a TO \"$(rm)'\"'\"'\"'"),
    ],
)
def test_a_statement_is_quoted_for_a_shell(statement: str, quoted: str) -> None:
    assert psql(statement) == f'psql "$DATABASE_URL" -c {quoted}'
