"""The table of results: verdicts of cells, agreement of repeats, findings, and both pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.base import Verdict
from harness.history.promises import Loss, Quote
from harness.queues.document import document
from harness.queues.page import page_html
from harness.queues.result import Cell, CellResult, read_results, result_of
from harness.queues.table import NO_CELL, NOT_RUN, Table
from tests.house.documents import LONGEST_LINE, long_lines

QUOTE = Quote(sentence="Tasks <never> get lost | ever.", address="https://example.invalid/docs?a=1&b=2")


def cell(target: str = "fine", loss: Loss = Loss.WORKER_KILLED, repeat: int = 1) -> Cell:
    return Cell(target=target, loss=loss, scenario=f"cell-{loss}", repeat=repeat)


def result(of: Cell, verdict: Verdict = Verdict.VALID, **more: Any) -> CellResult:
    why = "" if verdict is Verdict.VALID else "delivery: 36 acknowledged, 7 lost"
    return CellResult(cell=of, verdict=verdict, why=why, command=f"harness chaos run {of.scenario}", **more)


def repeated(*verdicts: Verdict) -> Table:
    runs = [result(cell(repeat=number), verdict) for number, verdict in enumerate(verdicts, start=1)]
    return Table.of(runs, [])


ACKS = {"acks": "late | early"}
BROKEN = result(
    cell("bad"), Verdict.INVALID, lost=7, promise=QUOTE, version="1.2", settings=ACKS, has_report=True
)
DROPPED = result(cell("bad", Loss.SIGTERM), Verdict.NOT_ASKED, lost=3)
FINE = result(cell(), recovery_p50=0.02, recovery_p99=1.5, version="2.0", servers={"redis": "Valkey 9.1"})
PLANNED = [cell("bad"), cell("bad", Loss.SIGTERM), cell(), cell("fine", Loss.BROKER_FROZEN)]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    for one in (BROKEN, DROPPED, FINE):
        one.write(tmp_path)
    assert sorted(read_results(tmp_path), key=str) == sorted([BROKEN, DROPPED, FINE], key=str)


def test_targets_with_a_path_have_a_folder_each_below_that_of_the_table() -> None:
    folders = {cell(name).folder for name in ("a", "a@b", "x.y:T", "../../etc")}
    assert len(folders) == 4
    assert all(folder.parts[0] == "cells" and ".." not in folder.parts for folder in folders)


@pytest.mark.parametrize(
    ("verdicts", "expected", "share"),
    [
        ([Verdict.VALID], Verdict.VALID, ""),
        ([Verdict.VALID] * 3, Verdict.VALID, "3 of 3"),
        ([Verdict.VALID, Verdict.UNKNOWN, Verdict.VALID], Verdict.VALID, "2 of 3"),
        ([Verdict.VALID, Verdict.INVALID], Verdict.INVALID, "1 of 2"),
        ([Verdict.NOT_ASKED, Verdict.UNKNOWN], Verdict.UNKNOWN, "1 of 2"),
    ],
)
def test_repeats_vote_and_the_worst_decides_a_tie(
    verdicts: list[Verdict], expected: Verdict, share: str
) -> None:
    [found] = repeated(*verdicts).cells.values()
    assert (found.verdict, found.share) == (expected, share)
    assert found.first.verdict is expected


def test_the_agreement_of_repeats_is_a_share_of_the_repeated_cells() -> None:
    mixed = enumerate((Verdict.VALID, Verdict.INVALID), start=1)
    other = [result(cell("other", repeat=number), verdict) for number, verdict in mixed]
    same = [result(cell(repeat=number)) for number in (1, 2)]
    once = [result(cell("once"))]
    assert Table.of([*other, *same, *once], []).agreement == "All repeats agree in 1 of 2 cells (50%)."
    assert Table.of(once, []).agreement == ""


def test_a_finding_holds_in_every_repeat() -> None:
    table = Table.of([BROKEN, DROPPED, FINE], PLANNED)
    assert [one.first for one in table.broken_promises] == [BROKEN]
    assert [one.first for one in table.unpromised_losses] == [DROPPED]
    assert repeated(Verdict.INVALID, Verdict.VALID).broken_promises == []
    kept = result(cell("kept"), Verdict.NOT_ASKED, lost=0, stuck=0)
    stuck = result(cell("stuck"), Verdict.NOT_ASKED, lost=0, stuck=1)
    assert [one.first for one in Table.of([kept, stuck], []).unpromised_losses] == [stuck]


def test_a_cell_without_a_result_was_not_run_or_cannot_be() -> None:
    table = Table.of([BROKEN, DROPPED, FINE], PLANNED)
    assert table.losses == (Loss.WORKER_KILLED, Loss.SIGTERM, Loss.BROKER_FROZEN)
    assert table.empty_text("fine", Loss.BROKER_FROZEN) == NOT_RUN
    assert table.empty_text("bad", Loss.BROKER_FROZEN) == NO_CELL
    assert dict(table.row("fine"))[Loss.BROKER_FROZEN] is None


def scenario(**verdicts: str) -> dict[str, Any]:
    checkers = {
        name: {"verdict": verdict, "summary": f"{name} says {verdict}", "figures": {}}
        for name, verdict in verdicts.items()
    }
    overall = (
        "INVALID"
        if "INVALID" in verdicts.values()
        else "UNKNOWN"
        if "UNKNOWN" in verdicts.values()
        else "VALID"
    )
    return {
        "checkers": checkers,
        "verdict": overall,
        "error": None,
        "target_version": "1",
        "servers": {"redis": "Valkey 9"},
        "figures": {"seconds": 12.5},
    }


def judged(document: dict[str, Any]) -> CellResult:
    return result_of(cell(), json.loads(json.dumps(document)), command="harness", settings={})


def test_a_cell_without_a_promise_is_not_asked_whatever_else_is_valid() -> None:
    found = judged(scenario(evidence="VALID", deadlocks="NOT ASKED", delivery="NOT ASKED"))
    assert (found.verdict, found.why) == (Verdict.NOT_ASKED, "delivery: delivery says NOT ASKED")


def test_a_cell_of_side_checks_alone_is_not_asked_either() -> None:
    found = judged(scenario(evidence="VALID", delivery="NOT ASKED", asked="UNKNOWN"))
    assert (found.verdict, found.why) == (Verdict.NOT_ASKED, "delivery: delivery says NOT ASKED")
    assert (
        judged(scenario(faults="UNKNOWN", delivery="NOT ASKED", asked="UNKNOWN")).verdict is Verdict.UNKNOWN
    )


def test_one_fault_is_enough_for_a_cell_that_is_not_asked() -> None:
    """A target that starts no worker again has none for the third kill."""
    few = scenario(faults="UNKNOWN", delivery="NOT ASKED")
    few["checkers"]["faults"]["figures"] = {"faults": 2}
    assert judged(few).verdict is Verdict.NOT_ASKED
    few["checkers"]["faults"]["figures"] = {"faults": 0}
    assert judged(few).verdict is Verdict.UNKNOWN
    promised = scenario(faults="UNKNOWN", delivery="VALID")
    promised["checkers"]["faults"]["figures"] = {"faults": 2}
    assert judged(promised).verdict is Verdict.UNKNOWN


def test_another_broken_promise_counts_although_delivery_is_not_asked() -> None:
    found = judged(scenario(delivery="NOT ASKED", exits="INVALID"))
    assert (found.verdict, found.why) == (Verdict.INVALID, "exits: exits says INVALID")


def test_figures_and_the_broken_promise_come_from_the_checkers() -> None:
    broken = scenario(delivery="INVALID", recovery="VALID")
    broken["checkers"]["delivery"] |= {
        "figures": {"lost": 2, "stuck": 1, "duplicated": 4},
        "promise": {"sentence": QUOTE.sentence, "address": QUOTE.address},
    }
    broken["checkers"]["recovery"]["figures"] = {"p50": 0.5, "p99": 2.0}
    found = judged(broken)
    assert (found.lost, found.stuck, found.doubled) == (2, 1, 4)
    assert (found.recovery_p50, found.recovery_p99, found.promise) == (0.5, 2.0, QUOTE)
    assert (found.version, found.seconds, found.has_report) == ("1", 12.5, True)


def test_a_run_that_broke_down_says_why() -> None:
    broken = scenario(delivery="UNKNOWN") | {"error": "the client of the adapter ended"}
    assert judged(broken).why == "the client of the adapter ended"


def test_the_document_has_the_grid_the_findings_and_every_target() -> None:
    text = document(
        Table.of([BROKEN, DROPPED, FINE], PLANNED), written_at="2026-01-02", command="harness queues"
    )
    assert "| [bad](#bad) | INVALID, 7 lost | NOT ASKED, 3 lost | — |" in text
    assert "| [fine](#fine) | VALID | — | not run |" in text
    assert f"“{QUOTE.sentence}” (<{QUOTE.address}>)" in " ".join(text.split())
    assert "20 ms / 1.50 s" in text
    assert "- `acks`: late | early" in text
    assert "1 VALID, 1 INVALID, 1 NOT ASKED" in " ".join(text.split())
    assert long_lines(text, LONGEST_LINE) == []


def test_a_sentence_does_not_break_the_table_of_the_document() -> None:
    odd = result(cell(), Verdict.UNKNOWN)
    text = document(
        Table.of([CellResult(cell=odd.cell, verdict=odd.verdict, why="a | b\nc", command="x")], []),
        written_at="2026-01-02",
        command="harness queues",
    )
    assert "a \\| b c" in text


def test_the_page_links_each_cell_that_has_a_report_and_escapes_what_it_shows() -> None:
    html = page_html(Table.of([BROKEN, DROPPED, FINE], PLANNED), written_at="2026-01-02")
    assert 'href="cells/bad/worker-killed/1/report.html"' in html
    assert "cells/bad/sigterm/1/report.html" not in html
    assert "Tasks &lt;never&gt; get lost" in html
    assert 'class="not-asked"' in html
    assert "not run" in html
    assert "<script" not in html


def test_a_table_without_results_is_a_page_too() -> None:
    table = Table.of([], PLANNED)
    assert "No cell of this target has run." in page_html(table, written_at="2026-01-02")
    assert "none has run" in document(table, written_at="2026-01-02", command="harness queues")
