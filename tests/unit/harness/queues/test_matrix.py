"""Which cells are run: by targets, losses and names, within the budget of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.history.promises import Loss, Promises
from harness.queues.cells import BUDGET_SECONDS
from harness.queues.matrix import Selection, known_targets, not_waited_for
from harness.queues.result import Cell

ADAPTER = """
name = "small"
pool = ["pool"]
client = ["client"]
needs = ["redis"]
[profiles.early]
[profiles.late]
"""


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    (tmp_path / "adapter.toml").write_text(ADAPTER, "utf-8")
    return str(tmp_path)


def test_neighbours_are_of_different_targets(adapter: str) -> None:
    cells = Selection(targets=["agentexec", adapter], losses=["sigterm", "broker-frozen"]).cells()
    assert [(cell.target, cell.loss) for cell in cells] == [
        ("agentexec", "sigterm"),
        (adapter, "sigterm"),
        ("agentexec", "broker-frozen"),
        (adapter, "broker-frozen"),
    ]


def test_a_loss_that_cannot_strike_a_target_is_no_cell(adapter: str) -> None:
    cells = Selection(targets=["agentexec", adapter], losses=["database-restarted"]).cells()
    assert [cell.target for cell in cells] == ["agentexec"]
    with pytest.raises(UsageError, match="No cell is left"):
        Selection(targets=[adapter], losses=["database-restarted"]).cells()


def test_repeats_follow_each_other_so_that_the_whole_table_comes_first() -> None:
    cells = Selection(targets=["agentexec"], losses=["sigterm", "sigterm-late"], repeats=2).cells()
    assert [(cell.loss, cell.repeat) for cell in cells] == [
        ("sigterm", 1),
        ("sigterm-late", 1),
        ("sigterm", 2),
        ("sigterm-late", 2),
    ]


def test_cells_are_named_by_target_and_loss(adapter: str) -> None:
    names = ["agentexec/reply-lost", f"{adapter}@late/worker-killed"]
    assert [cell.name for cell in Selection(only=names).cells()] == names


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(only=["agentexec"]), "TARGET/LOSS"),
        (Selection(only=["/sigterm"]), "TARGET/LOSS"),
        (Selection(only=["agentexec/sigkill"]), "no loss 'sigkill'"),
        (Selection(targets=["agentexec"], losses=["deployment"]), "no loss 'deployment'"),
        (Selection(targets=["no-such-queue"]), "no target 'no-such-queue'"),
    ],
)
def test_a_wrong_selection_is_refused(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        selection.cells()


def test_a_target_with_profiles_is_one_for_each_of_its_settings() -> None:
    """Its plain name has settings of its own, unless a profile repeats them."""
    found = known_targets()
    assert {"agentexec", "huey", "huey@defaults", "celery@early", "celery@late"} <= set(found)
    assert not {"celery", "dramatiq"} & set(found)


@pytest.mark.parametrize("loss", [Loss.WORKER_KILLED, Loss.POOL_KILLED, Loss.WORKER_PAUSED])
def test_what_is_promised_for_later_than_the_budget_is_not_waited_for(loss: Loss) -> None:
    cell = Cell(target="t", loss=loss, scenario=f"cell-{loss}")
    assert not_waited_for(cell, Promises(takes_over_after=BUDGET_SECONDS / 2)) is None
    assert "not waited for" in (not_waited_for(cell, Promises(takes_over_after=BUDGET_SECONDS)) or "")
    assert not_waited_for(cell, Promises()) is None


def test_a_kill_that_is_noticed_at_once_does_not_wait_for_a_long_lease() -> None:
    made = Promises(takes_over_after=3600.0, recovers_within={Loss.WORKER_KILLED: 5.0})
    killed = Cell(target="t", loss=Loss.WORKER_KILLED, scenario="cell-worker-killed")
    paused = Cell(target="t", loss=Loss.WORKER_PAUSED, scenario="cell-worker-paused")
    assert not_waited_for(killed, made) is None
    assert not_waited_for(paused, made) is not None
    assert not_waited_for(Cell(target="t", loss=Loss.SIGTERM, scenario="cell-sigterm"), made) is None
