"""The kind of a fault: a field of each injection, and added by the reader to histories that lack it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import chaos
from harness.checkers import faults_injected
from harness.checkers.base import Verdict, check_safe
from harness.history import History, InjectionKind, Operation, OperationType
from harness.history.faults import fault_windows
from harness.history.injection import with_kind
from harness.simulation.nemesis import INJECTIONS
from harness.simulation.plan import FaultKind
from tests.support.histories import INFO, HistoryBuilder

KILL, STOP, PAUSE = InjectionKind.KILL, InjectionKind.STOP, InjectionKind.PAUSE


def injection(name: str, **value: Any) -> Operation:
    value = {"fault": 1, "phase": "inject", "pids": [12]} | value
    return Operation(time=1, process="nemesis", type=OperationType.INFO, f=name, value=value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kill-worker", KILL),
        ("kill-pool", KILL),
        ("kill-while-redis-stands", KILL),
        ("sigterm", STOP),
        ("pause-worker", PAUSE),
        ("stall-postgres", PAUSE),
        ("flush-redis", InjectionKind.DATA_LOSS),
        ("overkill", InjectionKind.OTHER),
        ("anything", InjectionKind.OTHER),
    ],
)
def test_an_injection_that_was_saved_without_a_kind_gets_that_of_its_name(
    tmp_path: Path, name: str, kind: InjectionKind
) -> None:
    path = tmp_path / "nemesis.jsonl"
    path.write_text(injection(name).to_json() + "\n")
    (fault,) = fault_windows(History.load(path))
    assert (fault.name, fault.kind, fault.pids) == (name, kind, (12,))


def test_a_kind_that_was_recorded_is_kept_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "nemesis.jsonl"
    path.write_text(injection("kill-worker", kind="pause").to_json() + "\n")
    (fault,) = fault_windows(History.load(path))
    assert fault.kind is PAUSE


def test_the_kind_is_added_whether_the_lines_of_a_file_are_good_or_one_is_bad(tmp_path: Path) -> None:
    line = injection("kill-worker").to_json()
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    (tmp_path / "b.jsonl").write_text(f"{line}\n{{\n")
    (tmp_path / "c.jsonl").write_text("")
    History((injection("kill-worker"),)).save(tmp_path / "d.jsonl")
    history = History.load(tmp_path)
    assert [op.value["kind"] for op in history] == ["kill"] * 3


def test_only_injections_of_the_nemesis_get_a_kind() -> None:
    heal = injection("kill-worker", phase="heal")
    other = Operation(time=1, process="client", type=INFO, f="kill-worker", value={"phase": "inject"})
    assert (with_kind(heal), with_kind(other)) == (heal, other)


def test_the_names_of_simulated_faults_give_the_kinds_that_the_simulation_records() -> None:
    by_name = {kind: with_kind(injection(kind.value)).value["kind"] for kind in FaultKind}
    assert by_name == INJECTIONS


OLDER = (
    *("kill-worker-mid-task", "kill-pool", "sigterm-drain", "rolling-deploy", "kill-worker-locked"),
    *("pause-worker", "flush-redis", "stall-redis", "stall-postgres", "restart-redis", "restart-postgres"),
    *("terminate-backends", "lose-reply"),
)


def test_the_names_of_the_faults_of_older_histories_give_the_kinds_that_they_record() -> None:
    """Other faults are younger than the field `kind`, so no history lacks it."""
    faults = [fault for name in OLDER for fault in chaos.SCENARIOS[name].faults]
    assert len({fault.kind for fault in faults}) >= 4
    assert [with_kind(injection(fault.name)).value["kind"] for fault in faults] == [
        fault.kind for fault in faults
    ]


@pytest.mark.parametrize("value", [{}, {"kind": "explosion"}, {"kind": 7}])
def test_a_fault_of_unknown_kind_makes_its_checkers_unknown_and_lists_the_kinds(
    value: dict[str, Any],
) -> None:
    history = (
        HistoryBuilder()
        .op("nemesis", INFO, "kill-worker", fault=1, phase="inject", pids=[1], **value)
        .history
    )
    result = check_safe(faults_injected(), history)
    assert result.verdict is Verdict.UNKNOWN
    assert "record one of kill, stop, pause" in result.summary


@pytest.mark.parametrize("pids", [7, ["7"], "7"])
def test_pids_that_are_not_a_list_of_numbers_make_its_checkers_unknown(pids: object) -> None:
    history = HistoryBuilder().injected("kill-worker", KILL, pids=pids).history
    result = check_safe(faults_injected(), history)
    assert result.verdict is Verdict.UNKNOWN
    assert "record a list of whole numbers" in result.summary
