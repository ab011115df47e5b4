"""An unfinished task is judged once the drain waited for the patience and for the time that the machine took away."""

from __future__ import annotations

import pytest

from harness.history import History
from harness.history.ending import RunPhase, open_end
from tests.support.histories import INFO, OK, HistoryBuilder

PATIENCE = 8.0


def drained(*, quiet: float, spin: float) -> History:
    """A history whose drain ended after `quiet` seconds, on a machine that was `spin` times slower meanwhile."""
    built = HistoryBuilder()
    for second in range(1, round(quiet) + 1):
        built.at(float(second)).op("machine", INFO, "machine", load=9.0, spin=spin, delay=0.0)
    built.at(quiet).op("runner", INFO, "drain", unfinished=1, patience=PATIENCE, quiet=quiet)
    for phase in (RunPhase.DRAIN, RunPhase.COLLECTING):
        built.op("runner", OK, "phase", phase=phase)
    return built.history


@pytest.mark.parametrize("quiet", [8.0, 12.0])
def test_on_a_quiet_machine_the_patience_is_enough(quiet: float) -> None:
    assert open_end(drained(quiet=quiet, spin=1.0)) is None


def test_a_patience_of_which_the_machine_took_most_is_not_judged() -> None:
    assert "took away about 6.0 s of 8.0 s" in (open_end(drained(quiet=8.0, spin=4.0)) or "")


def test_a_drain_that_waited_for_what_the_machine_took_is_judged() -> None:
    assert open_end(drained(quiet=32.0, spin=4.0)) is None
    assert open_end(drained(quiet=12.0, spin=4.0)) is not None
